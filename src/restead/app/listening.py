"""Where the service may listen: on this machine as it likes, beyond it only where nobody can read along."""

import errno
import ipaddress
import socket
from typing import Any

from restead.domain.errors import InvalidRequest, Unavailable
from restead.settings import Settings

_BACKLOG = 2048  # connections that may wait
_ALIVE = {  # every connection that is taken has these from its listener: a peer that vanished is noticed in two minutes
    socket.TCP_KEEPIDLE: 60,  # seconds of silence before it is asked
    socket.TCP_KEEPINTVL: 15,
    socket.TCP_KEEPCNT: 4,
    socket.TCP_USER_TIMEOUT: 120_000,  # ms that sent bytes may stay without a sign of having come
}


def bind(settings: Settings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        InvalidRequest: the address is reached from other machines, and there is neither TLS nor a proxy that does it.
        Unavailable: the address is not ours or is in use.
    """
    family, address = _address(settings)
    host = str(address[0]).partition("%")[0]
    if not (ipaddress.ip_address(host).is_loopback or settings.tls_cert or settings.behind_proxy):
        raise InvalidRequest(
            f"{settings.listen} can be reached from other machines, and tokens would cross the network in the clear: "
            "set tls_cert and tls_key, or behind_proxy if a proxy in front does HTTPS"
        )
    # asyncio lets small packets go at once only on sockets that say they are TCP's.  Else an answer's body waits until
    # the client has acknowledged the head, which Linux puts off for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _ALIVE.items():
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = "is in use by another program" if error.errno == errno.EADDRINUSE else f"is refused: {error.strerror}"
        raise Unavailable(f"address {settings.listen} {why}") from error
    return listener


def url_of(listener: socket.socket, settings: Settings) -> str:
    """Return the address under which *listener* is reached on this machine."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _address(settings: Settings) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """What is checked is what is bound: a name is looked up once."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidRequest(f"listen: {settings.host} is no address of this machine: {error}") from error
    family, _, _, _, address = found[0]
    return family, address
