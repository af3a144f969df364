"""TLS towards the broker."""

from __future__ import annotations

import ssl


class _ClosedWhenRefused(ssl.SSLSocket):
    """paho leaves a socket open whose handshake failed, and tries again with another."""

    def do_handshake(self, block: bool = False) -> None:
        done = False
        try:
            super().do_handshake(block)
            done = True
        finally:
            if not done:
                self.close()


def tls_context() -> ssl.SSLContext:
    """Trust what the system trusts, or the file that `SSL_CERT_FILE` names. Reads files."""
    context = ssl.create_default_context()
    context.sslsocket_class = _ClosedWhenRefused
    return context
