"""Where a broker is."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from schemas.errors import BadInput, shown

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_EXPECTED = "mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Host and port of a broker, with what it takes to be let in. The password is never shown."""

    host: str
    port: int = 1883
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        scheme = "mqtts" if self.tls else "mqtt"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


def parse_address(
    text: str, username: str | None = None, password: str | None = None
) -> BrokerAddress:
    """Read an address; what it says of user and password yields to what is given beside it.

    Raises:
        BadInput: it is no broker's address.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise BadInput.of_field("broker", "not an address", _EXPECTED) from None
    try:
        port = parts.port
    except ValueError:
        # Python's message would quote it, and behind an unescaped / that is the password.
        raise BadInput.of_field(
            "broker",
            "the port is no number from 1 to 65535",
            f"{_EXPECTED}, / in a password as %2F",
        ) from None
    if parts.scheme not in _PORTS:
        raise BadInput.of_field("broker", f"scheme {shown(parts.scheme)!r}", _EXPECTED)
    if not parts.hostname:
        raise BadInput.of_field("broker", "no host", _EXPECTED)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise BadInput.of_field("broker", "more than host and port", _EXPECTED)
    if port == 0:
        raise BadInput.of_field("broker", "port 0", "a port from 1 to 65535")
    return BrokerAddress(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
        username=username or (unquote(parts.username) if parts.username else None),
        password=password or (unquote(parts.password) if parts.password else None),
    )
