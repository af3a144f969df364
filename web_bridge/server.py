"""The websocket server: a thin shell around `TabProtocol` and `Pool`.

A tab shows its token in the handshake, as a subprotocol, because a page can't set headers; a
wrong one is answered 401, a wrong origin 403, and a frame over the limit ends the connection
with 1009. What goes to a tab waits in a bounded queue of its own: one that reads too slowly
is dropped, and holds nobody up.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from schemas.browser import SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX, FromBridge
from schemas.errors import Unavailable, shown
from web_bridge.job import Done, GivenUp, Job
from web_bridge.pool import Drop, Effect, Ended, Pool, PoolConfig, Send
from web_bridge.protocol import Close, CloseCode, Joined, Said, TabProtocol, closing

TICK_SECONDS = 0.25
CLOSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """Where the bridge listens, and whom it lets in.

    Attributes:
        token: what a tab has to show; None lets every tab in.
        origins: of pages that may connect; None lets every page in.
        max_message_bytes: of one message of a tab.
        outbound_messages: how many may wait for a tab that reads slowly.
        write_bytes: how much of them the connection itself may hold.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    origins: Sequence[str] | None = None
    max_message_bytes: int = 1 << 20
    outbound_messages: int = 64
    write_bytes: int = 1 << 16
    ping_seconds: float = 20.0
    pool: PoolConfig = field(default_factory=PoolConfig)


@dataclass(slots=True, eq=False)
class _Connection:
    socket: ServerConnection
    protocol: TabProtocol
    outbound: asyncio.Queue[FromBridge | Close]
    tab: str | None = None
    overflowed: bool = False
    has_last_words: bool = False


class Bridge:
    """Runs a pool of tabs. Use `open_bridge`.

    Attributes:
        pool: to look at; only the bridge changes it.
        connections: how many are open, whether or not they said who they are.
        refused: handshakes that were refused, by reason.
    """

    def __init__(self, config: BridgeConfig) -> None:
        self.config = config
        self.pool = Pool(config.pool)
        self.port = config.port
        self.refused: dict[str, int] = {"token": 0, "origin": 0}
        self._open: set[_Connection] = set()
        self._by_tab: dict[str, _Connection] = {}
        self._waiting: dict[str, asyncio.Future[Done | GivenUp]] = {}
        self._changed = asyncio.Event()
        self._fault: Exception | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def run(self, job: Job) -> Done | GivenUp:
        """Have a job done; return its only result. Cancelling this takes the job back.

        Raises:
            BadInput: a job of this id was run before, or too many wait.
        """
        effects = self.pool.submit(job, time.monotonic())
        ended: asyncio.Future[Done | GivenUp] = asyncio.get_running_loop().create_future()
        self._waiting[job.id] = ended
        try:
            self._do(effects)
            return await ended
        finally:
            self._waiting.pop(job.id, None)
            self._do(self.pool.cancel(job.id, time.monotonic()))

    async def until(self, condition: Callable[[Pool], bool], seconds: float) -> bool:
        """Wait until the pool is as `condition` says; return whether it came to that in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition(self.pool):
                    self._changed.clear()
                    await self._changed.wait()
                return True
        return condition(self.pool)

    async def handle(self, socket: ServerConnection) -> None:
        """Serve one connection, from the handshake to its end."""
        connection = _Connection(
            socket,
            TabProtocol(time.monotonic()),
            asyncio.Queue(self.config.outbound_messages),
        )
        self._open.add(connection)
        writing = asyncio.create_task(self._write(connection), name="tab-writer")
        reason = "the connection was lost"
        try:
            reason = await self._read(connection) or reason
        except Exception as fault:
            # The server would only log it and go on, with a pool that may be in pieces.
            self._fault = fault
            raise
        finally:
            self._open.discard(connection)
            if connection.tab is not None and self._by_tab.get(connection.tab) is connection:
                del self._by_tab[connection.tab]
                self._do(self.pool.left(connection.tab, reason, time.monotonic()))
                log.info("tab_left", tab=connection.tab, reason=shown(reason))
            if connection.has_last_words:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await writing  # it sends why, then closes
            writing.cancel()
            self._changed.set()

    async def tick(self) -> None:
        """Let time pass for the pool and for connections that say nothing, for ever.

        A fault in serving any connection comes out here, so that it ends whoever runs this.
        """
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self._fault is not None:
                raise self._fault
            now = time.monotonic()
            self._do(self.pool.tick(now))
            for connection in list(self._open):
                close = connection.protocol.tick(now)
                if close is not None:
                    self._queue(connection, close)

    def check_handshake(self, socket: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake with a wrong token or from a page of another origin."""
        origin = request.headers.get("Origin")
        allowed = self.config.origins
        if allowed is not None and origin not in allowed:
            self.refused["origin"] += 1
            log.warning("tab_refused", reason="origin", origin=shown(origin or ""))
            return socket.respond(HTTPStatus.FORBIDDEN, "a page of another origin\n")
        if self.config.token is not None and not _shows(request, self.config.token):
            self.refused["token"] += 1
            log.warning("tab_refused", reason="token")
            return socket.respond(HTTPStatus.UNAUTHORIZED, "wrong or no token\n")
        return None

    async def _read(self, connection: _Connection) -> str | None:
        """Take frames until the connection ends; return why, if it is the tab's doing."""
        with suppress(ConnectionClosed):
            async for frame in connection.socket:
                if connection.protocol.closed:
                    return None  # it was let go meanwhile; what it said since is not heard
                now = time.monotonic()
                match connection.protocol.receive(frame, now):
                    case Joined(hello):
                        self._join(connection, hello.tab)
                        self._do(self.pool.joined(hello, now, _host(connection.socket)))
                    case Said(message):
                        if connection.tab is not None:
                            self._do(self.pool.said(connection.tab, message, now))
                    case Close() as close:
                        self._queue(connection, close)
                        return close.reason
                self._changed.set()
        close_code = connection.socket.close_code
        return "too large a message" if close_code == 1009 else None

    def _join(self, connection: _Connection, tab: str) -> None:
        before = self._by_tab.get(tab)
        connection.tab = tab
        self._by_tab[tab] = connection
        if before is not None:
            before.protocol.closed = True
            self._queue(before, closing(CloseCode.REPLACED, "replaced", "the tab connected anew"))
        log.info("tab_joined", tab=tab)

    def _do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(tab, message):
                    if (connection := self._by_tab.get(tab)) is not None:
                        self._queue(connection, message)
                case Drop(tab, code, reason):
                    self._drop(tab, code, reason)
                case Ended(outcome):
                    waiting = self._waiting.pop(outcome.job.id, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(outcome)
        self._changed.set()

    def _drop(self, tab: str, code: CloseCode, reason: str) -> None:
        connection = self._by_tab.pop(tab, None)
        if connection is None:
            return
        log.warning("tab_dropped", tab=tab, code=int(code), reason=shown(reason))
        connection.protocol.closed = True
        connection.tab = None
        self._queue(connection, closing(code, code.name.lower(), reason))

    def _queue(self, connection: _Connection, message: FromBridge | Close) -> None:
        """Queue a message; a tab whose queue is full is let go."""
        try:
            connection.outbound.put_nowait(message)
            connection.has_last_words |= isinstance(message, Close)
        except asyncio.QueueFull:
            if not connection.overflowed:
                connection.overflowed = True
                log.warning("tab_too_slow", tab=connection.tab or "")
                # Nothing more gets through to it, not even why: the connection is cut.
                connection.socket.transport.abort()

    async def _write(self, connection: _Connection) -> None:
        """Send what is queued for one tab, until a close or the end of the connection."""
        with suppress(ConnectionClosed):
            while True:
                message = await connection.outbound.get()
                if not isinstance(message, Close):
                    await connection.socket.send(message.model_dump_json())
                    continue
                if message.refusal is not None:
                    await connection.socket.send(message.refusal.model_dump_json())
                await connection.socket.close(int(message.code), message.reason)
                return


@asynccontextmanager
async def open_bridge(config: BridgeConfig) -> AsyncIterator[Bridge]:
    """Listen, and run the pool for the time of the block.

    Raises:
        Unavailable: the address can't be listened on.
    """
    bridge = Bridge(config)
    try:
        server = await serve(
            bridge.handle,
            config.host,
            config.port,
            process_request=bridge.check_handshake,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,  # small JSON: compressing costs more than it saves
            max_size=config.max_message_bytes,
            max_queue=16,
            write_limit=config.write_bytes,
            ping_interval=config.ping_seconds,
            ping_timeout=config.ping_seconds,
            close_timeout=CLOSE_SECONDS,
            server_header="placewise",
        )
    except OSError as error:
        raise Unavailable(
            f"can't listen for browsers on {config.host}:{config.port}: "
            f"{error.strerror or error}; choose another with browser_port"
        ) from error
    bridge.port = next(iter(server.sockets)).getsockname()[1]
    async with asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(bridge.tick(), name="bridge-tick")
        try:
            yield bridge
        finally:
            server.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * CLOSE_SECONDS):
                    await server.wait_closed()
            ticking.cancel()


def _shows(request: Request, token: str) -> bool:
    """Return whether a handshake shows the token, in a time that tells nothing of it."""
    offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
    return any(
        hmac.compare_digest(one.strip().encode(), (TOKEN_SUBPROTOCOL_PREFIX + token).encode())
        for one in offered
    )


def _host(socket: ServerConnection) -> str:
    address = socket.remote_address
    return str(address[0]) if address else ""
