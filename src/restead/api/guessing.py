"""Whoever guesses tokens waits: each refusal of one address takes longer than the last.

Always 401, never 429, which published clients take for a fault of the service.  Good tokens are never slowed down,
not even from the same address: others may sit behind it.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_FREE = 3  # refusals without a delay: people mistype, and a client tries an expired token before it makes a new one
_FIRST, _LONGEST = 0.1, 5.0  # seconds; doubled each time
_FORGOTTEN = 60.0  # seconds without a refusal after which all are forgiven
_MOST_KEPT = 10_000  # addresses


class Guesses:
    """Counts the refusals of each address.  Used by one thread: that of the event loop."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def delay(self, address: str) -> float:
        """Count one more refusal of *address*; return the seconds after which it may be told."""
        peer, now = _peer(address), self._seconds()
        count, last = self._counts.get(peer, (0, now))
        count = 1 if now - last > _FORGOTTEN else count + 1
        self._counts[peer] = (count, now)
        self._counts.move_to_end(peer)
        if len(self._counts) > _MOST_KEPT:
            self._counts.popitem(last=False)
        return min(_LONGEST, _FIRST * 2.0 ** min(count - _FREE - 1, 16)) if count > _FREE else 0.0


def _peer(address: str) -> str:
    """Whoever has one IPv6 address has the 2^64 beside it, too."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
