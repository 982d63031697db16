"""What a qcow2 image says of itself in its first bytes (QEMU, docs/interop/qcow2.txt), and which images are not opened.

An image is opened if it stands alone and can be read without a secret.  One that names another file is refused: whoever
made it, perhaps a guest, would choose a file of this machine to be read.
"""

import errno
import os
import struct
from dataclasses import dataclass

MAGIC = b"QFI\xfb"
# Magic, version, where the backing file's name is, its length, bits of a cluster, size, encryption, first level's
# entries and place, place and clusters of the table of counts, snapshots and their place; from version 3 on features
# (incompatible, compatible, autoclear), bits of a count as a power of two, length of the header.  Extensions follow.
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_LENGTH = _HEADER.size  # 104 bytes: a header of version 3 without its extensions
_LENGTH_2 = 72  # of version 2
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


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in an image's first bytes, whether it can be opened or not."""

    version: int
    backing_at: int  # where the name of the file is that it stands on, 0 if on none
    cluster_bits: int
    size: int  # bytes of the disk that a machine sees
    encryption: int
    first_level: tuple[int, int]  # entries, place
    counts: tuple[int, int]  # place, clusters
    features: int  # those that whoever opens it has to know
    count_order: int  # bits of a count as a power of two


def read_header(fd: int) -> Header:
    """Return what the open file says of itself.

    Raises:
        ValueError: it is no qcow2 image of a version that is known; the text continues "disk … ".
        OSError: it cannot be read.
    """
    first = os.pread(fd, _LENGTH, 0)
    if not first.startswith(MAGIC) or len(first) < _LENGTH_2:
        raise ValueError("does not begin as a qcow2 image does; if it is raw, say format=raw")
    (
        _, version, backing_at, _, bits, size, encryption, entries, first_at, counts_at, clusters, _, _,
        features, _, _, order, _,
    ) = _HEADER.unpack(first.ljust(_LENGTH, b"\0"))  # fmt: skip
    if version not in (2, 3):
        raise ValueError(f"is a qcow2 image of version {version}; versions 2 and 3 are opened")
    if version == 3 and len(first) < _LENGTH:
        raise ValueError("ends within its qcow2 header")
    if version == 2:
        features, order = 0, _COUNT_ORDER
    return Header(
        version, backing_at, bits, size, encryption, (entries, first_at), (counts_at, clusters), features, order
    )


def read_image(fd: int) -> Image:
    """Return what the open file says of itself.

    Raises:
        ValueError: it is no qcow2 image, or none that is opened; the text continues "disk … ".
        OSError: it cannot be read.
    """
    header = read_header(fd)
    _refuse(header)
    if header.size == 0 or header.size % _SECTOR:
        raise ValueError(f"shows {header.size} bytes as a qcow2 image; a disk is a multiple of {_SECTOR} bytes, not 0")
    return Image(header.size, header.version)


def _refuse(header: Header) -> None:
    alone = "only images that stand alone are opened (qemu-img convert makes one)"
    if header.backing_at:
        raise ValueError(f"is a qcow2 image with a backing file, which is never followed: {alone}")
    if header.features & _DATA_FILE:
        raise ValueError(f"is a qcow2 image with its data in another file, which is never followed: {alone}")
    if header.encryption:
        raise ValueError(f"is an encrypted qcow2 image (method {header.encryption}), which is not opened")
    if header.features & _CORRUPT:
        raise ValueError("is a qcow2 image that is marked as corrupt: see what qemu-img check says")
    if unknown := header.features & ~_KNOWN:
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
