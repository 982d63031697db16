"""Where the repository's objects are kept: a folder on this machine, or memory."""

from restead.drivers.blobs.local import LocalBlobs
from restead.drivers.blobs.memory import MemoryBlobs

__all__ = ["LocalBlobs", "MemoryBlobs"]
