"""Sealing keys as the keyring has them at each moment.

Another process may rotate them at any time.  What it seals from then on is met here under a number that is not known
yet: so an unknown number is looked up in the store before it is believed to be none.
"""

from collections.abc import Callable, Iterator, Mapping

from restead.repository.seal import SealingKeys


class LiveKeys:
    """Implements `SealingKeys`."""

    def __init__(self, current: Callable[[], SealingKeys], refresh: Callable[[], None]) -> None:
        self._current = current
        self.sealing_keys: Mapping[int, bytes] = _Numbered(current, refresh)

    def __repr__(self) -> str:
        return "***"

    @property
    def newest(self) -> int:
        """Number of the key that seals what is new."""
        return self._current().newest


class _Numbered(Mapping[int, bytes]):
    def __init__(self, current: Callable[[], SealingKeys], refresh: Callable[[], None]) -> None:
        self._current = current
        self._refresh = refresh

    def __getitem__(self, number: int) -> bytes:
        known = self._current().sealing_keys
        if number not in known:
            self._refresh()
            known = self._current().sealing_keys
        return known[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._current().sealing_keys)

    def __len__(self) -> int:
        return len(self._current().sealing_keys)

    def __repr__(self) -> str:
        return "***"
