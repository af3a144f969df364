"""The process of the embedded broker. Run by path, with nothing of ours imported.

    python -P embedded_child.py CONFIG LISTENERS

Writes `listening` once it does, and a line that starts with `fault` for what it could not mend.
Ends when its standard input does: however the parent ends, the kernel closes that pipe. Signals
for a whole process group or service are not for it: the agent still has a goodbye to say over the
broker.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path

from iotcore.iotcore import IotCoreBroker

LOOK_SECONDS = 0.005
OLD_LISTENER = "v4"
PANIC_EXIT = 101
_PANIC = re.compile(r"thread '([^']*)'.* panicked at ")
_telling = threading.Lock()


def main() -> None:
    """Run the broker until standard input ends."""
    config_path, listeners = sys.argv[1], int(sys.argv[2])
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    # rumqttd logs each packet that it routes as an error.
    logging.disable(logging.CRITICAL)
    for name, work in (
        ("end-with-input", _end_with_input),
        ("tell-when-listening", partial(_tell_when_listening, listeners)),
        ("watch-panics", partial(_watch_panics, _take_stderr())),
    ):
        threading.Thread(target=work, name=name, daemon=True).start()
    IotCoreBroker(config_path=config_path).run_forever()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _take_stderr() -> int:
    """Return a pipe's end from which what is written to standard error is to be read."""
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    return reading


def _watch_panics(stderr: int) -> None:
    """Tell of a thread that panicked. Without any but the one for 3.1.1 the broker is no more.

    rumqttd 0.20 panics over a message with MQTT 5 properties for a 3.1.1 client, and takes no
    3.1.1 client from then on; those of MQTT 5 do not notice.
    """
    with open(stderr, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            panic = _PANIC.match(line)
            if panic is None:
                continue
            thread = panic[1]
            _tell(f"fault {thread}: {line.strip()}")
            if thread != OLD_LISTENER:
                os._exit(PANIC_EXIT)


def _tell(line: str) -> None:
    with _telling:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _tell_when_listening(listeners: int) -> None:
    """Have the listening sockets hand TCP_NODELAY to what they accept; then tell.

    rumqttd has no setting for it. On Linux an accepted socket inherits it.
    """
    while _undelay() < listeners:
        time.sleep(LOOK_SECONDS)
    _tell("listening")


def _undelay() -> int:
    """Set TCP_NODELAY on each listening socket of this process; return how many there are."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            twin = os.dup(int(entry.name))
        except OSError:  # closed since
            continue
        if _undelay_one(twin):
            found += 1
    return found


def _undelay_one(descriptor: int) -> bool:
    """Set TCP_NODELAY if it is a listening socket; return whether it was. Closes it."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:  # no socket
        os.close(descriptor)
        return False
    with sock:
        if sock.family != socket.AF_INET:
            return False
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return True


if __name__ == "__main__":
    main()
