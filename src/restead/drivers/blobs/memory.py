"""Objects in memory: an honest store for tests and fuzzing, which can show stale listings."""

import os
import threading
from collections.abc import Iterator, Sequence

from restead.domain.errors import Damaged, NotFound
from restead.drivers.blobs.names import checked
from restead.ports import Buffer


class MemoryBlobs:
    """A BlobStore that lives as long as the object."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._listed: dict[str, int] | None = None  # what listings show while they are stale
        self._lock = threading.Lock()

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        whole = bytes(data) if isinstance(data, Buffer) else b"".join(data)
        with self._lock:
            if checked(name) in self._objects:
                return False
            self._objects[name] = whole
            return True

    def put_file(self, name: str, fd: int) -> bool:
        return self.put(name, _whole(fd))

    def get(self, name: str) -> bytes:
        try:
            return self._objects[checked(name)]
        except KeyError:
            raise NotFound(f"the store holds no {name}") from None

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        data = self.get(name)
        if offset + length > len(data):
            raise Damaged(f"{name} holds {len(data)} bytes, {length} from {offset} on were asked")
        return data[offset : offset + length]

    def get_range_into(self, name: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.get_range(name, offset, len(buffer))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        with self._lock:
            if self._listed is None:
                shown = [(name, len(data)) for name, data in self._objects.items() if name.startswith(prefix)]
            else:
                shown = [(name, size) for name, size in self._listed.items() if name.startswith(prefix)]
        yield from shown

    def delete(self, name: str) -> None:
        with self._lock:
            self._objects.pop(checked(name), None)

    def freeze_listing(self) -> None:
        """Let listings show the present for ever, as stores without fresh listings may."""
        with self._lock:
            self._listed = self._sizes()

    def thaw_listing(self) -> None:
        """Let listings show what is there again."""
        with self._lock:
            self._listed = None

    def _sizes(self) -> dict[str, int]:
        return {name: len(data) for name, data in self._objects.items()}


def _whole(fd: int) -> bytes:
    size, parts = os.fstat(fd).st_size, []
    at = 0
    while at < size:
        parts.append(os.pread(fd, size - at, at))
        at += len(parts[-1])
    return b"".join(parts)
