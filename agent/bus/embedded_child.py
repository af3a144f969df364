"""The process of the embedded broker. Run by path, with nothing of ours imported.

    python -P embedded_child.py CONFIG LISTENERS

Writes a line once it listens, and ends when its standard input does: however the parent ends, the
kernel closes that pipe. Signals for a whole process group or service are not for it: the agent
still has a goodbye to say over the broker.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from iotcore.iotcore import IotCoreBroker

LOOK_SECONDS = 0.005


def main() -> None:
    """Run the broker until standard input ends."""
    config_path, listeners = sys.argv[1], int(sys.argv[2])
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    # rumqttd logs each packet that it routes as an error.
    logging.disable(logging.CRITICAL)
    threading.Thread(target=_end_with_input, name="end-with-input", daemon=True).start()
    threading.Thread(
        target=_tell_when_listening, args=(listeners,), name="tell-when-listening", daemon=True
    ).start()
    IotCoreBroker(config_path=config_path).run_forever()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _tell_when_listening(listeners: int) -> None:
    """Have the listening sockets hand TCP_NODELAY to what they accept; then tell.

    rumqttd has no setting for it. On Linux an accepted socket inherits it.
    """
    while _undelay() < listeners:
        time.sleep(LOOK_SECONDS)
    sys.stdout.write("listening\n")
    sys.stdout.flush()


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
