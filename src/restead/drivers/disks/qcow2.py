"""What a qcow2 image says of itself in its first bytes (QEMU, docs/interop/qcow2.txt), and which images are not opened.

An image is opened if it stands alone and can be read without a secret.  One that names another file is refused: whoever
made it, perhaps a guest, would choose a file of this machine to be read.
"""

import errno
import os
import struct
from dataclasses import dataclass

MAGIC = b"QFI\xfb"
# Magic, version, where the backing file's name is, its length, bits of a cluster, size, encryption.
_FIXED = struct.Struct(">4sIQIIQI")
_LENGTH = 104  # bytes of a header of version 3 without its extensions
_FEATURES = struct.Struct(">QQQ")  # at 72 from version 3 on: incompatible, compatible, autoclear
_FEATURES_AT = 72

# As `_FIXED`, then first level's entries and place, place and clusters of the table of counts, snapshots and their
# place, `_FEATURES`, bits of a count as a power of two, length of the header.  What follows is the end of extensions.
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_COUNT_ORDER = 4
_MOST_FIRST_LEVEL = 32 << 20  # bytes of it that QEMU opens

_CORRUPT, _DATA_FILE = 1 << 1, 1 << 2
_KNOWN = 0b11111  # dirty, corrupt, another data file, kind of compression, subclusters
_SECTOR = 512  # bytes


@dataclass(frozen=True, slots=True)
class Image:
    """A qcow2 image that can be opened."""

    size: int  # bytes of the disk that a machine sees
    version: int


def read_image(fd: int) -> Image:
    """Return what the open file says of itself.

    Raises:
        ValueError: it is no qcow2 image, or none that is opened; the text continues "disk … ".
        OSError: it cannot be read.
    """
    first = os.pread(fd, _LENGTH, 0)
    if not first.startswith(MAGIC) or len(first) < _FEATURES_AT:
        raise ValueError("does not begin as a qcow2 image does; if it is raw, say format=raw")
    _, version, backing_at, _, _, size, encryption = _FIXED.unpack(first[: _FIXED.size])
    if version not in (2, 3):
        raise ValueError(f"is a qcow2 image of version {version}; versions 2 and 3 are opened")
    _refuse(backing_at, encryption, _incompatible(first) if version == 3 else 0)
    if size == 0 or size % _SECTOR:
        raise ValueError(f"shows {size} bytes as a qcow2 image; a disk is a multiple of {_SECTOR} bytes, not 0")
    return Image(size, version)


def _incompatible(first: bytes) -> int:
    if len(first) < _LENGTH:
        raise ValueError("ends within its qcow2 header")
    return int(_FEATURES.unpack(first[_FEATURES_AT : _FEATURES_AT + _FEATURES.size])[0])


def _refuse(backing_at: int, encryption: int, features: int) -> None:
    alone = "only images that stand alone are opened (qemu-img convert makes one)"
    if backing_at:
        raise ValueError(f"is a qcow2 image with a backing file, which is never followed: {alone}")
    if features & _DATA_FILE:
        raise ValueError(f"is a qcow2 image with its data in another file, which is never followed: {alone}")
    if encryption:
        raise ValueError(f"is an encrypted qcow2 image (method {encryption}), which is not opened")
    if features & _CORRUPT:
        raise ValueError("is a qcow2 image that is marked as corrupt: see what qemu-img check says")
    if unknown := features & ~_KNOWN:
        raise ValueError(f"is a qcow2 image with features that are not known here (bits {unknown:#x})")


def empty_image(size: int) -> bytes:
    """Return the file of a new image of that many bytes (version 3), which holds nothing and stands alone.

    Raises:
        OSError: no such image can be so large.
    """
    tables = -(-size // (_CLUSTER * _CLUSTER // 8))  # entries of the first level, each for one table of the second
    first_level = -(-tables * 8 // _CLUSTER)  # clusters
    if first_level * _CLUSTER > _MOST_FIRST_LEVEL:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    counts_at, block_at, tables_at = _CLUSTER, 2 * _CLUSTER, 3 * _CLUSTER
    header = _HEADER.pack(
        MAGIC, 3, 0, 0, _CLUSTER_BITS, size, 0, tables, tables_at, counts_at, 1, 0, 0,
        0, 0, 0, _COUNT_ORDER, _LENGTH,
    )  # fmt: skip
    used = 3 + first_level  # clusters, each counted once: header, table of counts, one block of counts, first level
    image = bytearray(used * _CLUSTER)
    image[: len(header)] = header
    struct.pack_into(">Q", image, counts_at, block_at)
    struct.pack_into(f">{used}H", image, block_at, *[1] * used)
    return bytes(image)
