"""Where the repository's objects are kept: a folder on this machine, or memory; `s3` is imported where it is needed."""

from restead.drivers.blobs.local import LocalBlobs
from restead.drivers.blobs.memory import MemoryBlobs
from restead.drivers.blobs.one_writer import OneWriter, Writer

__all__ = ["LocalBlobs", "MemoryBlobs", "OneWriter", "Writer"]
