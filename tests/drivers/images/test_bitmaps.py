"""Which bitmaps are believed, what they are called, and how what they say is told as few stretches."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.drivers.image_files import needs_qemu_nbd, qemu_img

from restead.domain.extent import Extent
from restead.drivers.disks.bitmap_rules import Found, believed, generation_of, since
from restead.drivers.disks.changed import changed_in
from restead.drivers.disks.coarse import coarsely
from restead.drivers.disks.qcow2_bitmaps import stored_bitmaps
from restead.drivers.images.bitmaps import chain_of

MIB = 1 << 20
PIECE = 4096  # bytes
A, B, C = (f"restead-0000000{number}-{'0' * 16}" for number in (1, 2, 3))


def node(*bitmaps: dict[str, Any]) -> dict[str, Any]:
    return {"node-name": "disk0", "image": {"virtual-size": MIB}, "dirty-bitmaps": list(bitmaps)}


def test_a_chain_goes_on_behind_the_newest_and_is_told_from_any_link_on() -> None:
    chain = chain_of(node({"name": B, "recording": True}, {"name": "an-operators", "recording": True},
                          {"name": A, "recording": False}))  # fmt: skip
    assert (chain.names, chain.useless) == ((A, B), ())
    assert chain.new.startswith("restead-00000003-")
    assert chain.since(generation_of(A, MIB)) == (A, B)
    assert chain.since(generation_of(B, MIB)) == (B,)
    for stranger in (generation_of(C, MIB), generation_of(A, MIB + 512), "", A):
        assert chain.since(stranger) is None
    assert [part["type"].split("-")[-1] for part in chain.beginning()] == ["add", "disable"]


def test_bitmaps_that_the_images_had_as_a_domains_are_left_alone() -> None:
    """libvirt's checkpoints of ours are called a little like these, and stay in an image that is moved here."""
    domains = {"name": "restead-fa3d456789abcdef", "recording": True}
    chain = chain_of(node(domains))
    assert (chain.names, chain.useless, chain.new[:17]) == ((), (), "restead-00000001-")
    chain = chain_of(node(domains, {"name": A, "recording": True}))
    assert (chain.names, chain.useless, chain.new[:17]) == ((A,), (), "restead-00000002-")


def test_two_moments_never_get_bitmaps_of_one_name() -> None:
    assert chain_of(node()).new != chain_of(node()).new


@pytest.mark.parametrize("found", [
    [Found(A, recording=False, inconsistent=False)],
    [Found(A, recording=True, inconsistent=False), Found(B, recording=True, inconsistent=False)],
    [Found(A, recording=False, inconsistent=True), Found(B, recording=True, inconsistent=False)],
])  # fmt: skip
def test_where_there_may_be_a_gap_none_is_believed(found: list[Found]) -> None:
    assert believed(found) == ()
    assert since(believed(found), MIB, generation_of(A, MIB)) is None


def test_the_oldest_of_too_many_are_dropped() -> None:
    names = [f"restead-{number:08d}-x" for number in range(20)]
    found = [Found(name, recording=name == names[-1], inconsistent=False) for name in names]
    assert believed(found) == tuple(names[-7:])


@pytest.mark.parametrize("seed", range(5))
def test_few_stretches_cover_all_that_were_told(seed: int) -> None:
    luck, size = random.Random(seed), 64 * MIB
    streams = [sorted((at, luck.randrange(1, 9000)) for at in luck.sample(range(size - 9000), 400)) for _ in range(2)]
    found = coarsely(streams, size, most=50)
    assert len(found) <= 100
    assert found == sorted(found)
    assert all(0 <= at < at + length <= size for at, length in found)
    for at, length in (each for stream in streams for each in stream):
        assert any(start <= at and at + length <= start + reach for start, reach in found)


def test_few_stretches_are_told_as_they_are() -> None:
    assert coarsely([[(0, 10), (20, 5)], [(10, 5), (22, 1)]], 100) == [(0, 15), (20, 5)]


@needs_qemu_nbd
def test_an_images_own_tables_tell_its_bitmaps(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", str(image), "1M")

    def found() -> tuple[str, ...]:
        with image.open("rb") as file:
            return stored_bitmaps(file.fileno())

    assert found() == ()
    qemu_img("bitmap", "--add", str(image), "an-operators")
    qemu_img("bitmap", "--add", "--disable", str(image), A)
    qemu_img("bitmap", "--add", str(image), B)
    qemu_img("bitmap", "--add", str(image), "restead-fa3d456789abcdef")  # of a libvirt checkpoint
    assert found() == (A, B)
    with image.open("r+b") as file:
        file.seek(88)
        file.write(bytes(8))  # as one does who writes to it and knows no bitmaps
    assert found() == ()


@needs_qemu_nbd
@pytest.mark.parametrize("harm", range(104, 200, 24))
def test_tables_that_are_not_whole_tell_nothing_wrong(tmp_path: Path, harm: int) -> None:
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", str(image), "1M")
    qemu_img("bitmap", "--add", str(image), A)
    with image.open("r+b") as file:
        file.seek(harm)
        file.write(b"\xff" * 8)
        file.flush()
        assert stored_bitmaps(file.fileno()) in ((), (A,))


class Disk:
    """A `BlockSource` of pieces: a letter is 4 KiB of that byte, `0` written zeroes, `.` a hole."""

    def __init__(self, pieces: str) -> None:
        self.pieces = pieces
        self.read: list[int] = []  # offsets

    @property
    def size(self) -> int:
        return len(self.pieces) * PIECE

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.read.append(offset)
        whole = b"".join(bytes(PIECE) if each in ".0" else each.encode() * PIECE for each in self.pieces)
        buffer[:] = whole[offset : offset + len(buffer)]

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        at = offset
        while at < offset + length:
            end = min((at // PIECE + 1) * PIECE, offset + length)
            yield Extent(at, end - at, data=self.pieces[at // PIECE] != ".")
            at = end


def changed(disk: Disk, written: str) -> str:
    """Say of which pieces it is believed that they may have changed; *written*: what bitmaps tell."""
    stretches = [(at * PIECE, PIECE) for at, each in enumerate(written) if each == "w"]
    marks = ["-"] * len(disk.pieces)
    for at, length in changed_in(disk, [stretches]):
        marks[at // PIECE : (at + length) // PIECE] = "c" * (length // PIECE)
        assert at % PIECE == length % PIECE == 0
    return "".join(marks)


@pytest.mark.parametrize(("pieces", "written", "expected"), [
    ("a.b.c.d", "-------", "-------"),  # nothing can have been cut in front of d
    ("a.b.c..", "-------", "-----cc"),  # what is behind c can have been
    ("a.b.c.d", "------w", "-----cc"),  # d was written after it was cut, perhaps
    ("a.b.c.d", "---w--w", "---c-cc"),  # a hole that the guest has made is told
    ("a.b0c0.", "-------", "------c"),  # zeroes that were written are no holes
    ("a.b.0.0", "-------", "---c-c-"),  # and prove nothing: an image can be made larger with zeroes
    ("a.b.0.0", "--w----", "-ccc-c-"),
    (".......", "-------", "ccccccc"),
    (".0.....", "w------", "c-ccccc"),
    ("aaaaaaa", "wwwwwww", "ccccccc"),
    ("abcdefg", "-www--w", "-ccc--c"),
    ("a......", "w-w-w-w", "ccccccc"),
])  # fmt: skip
def test_holes_count_as_changed_only_where_the_disk_may_have_been_cut(
    pieces: str, written: str, expected: str
) -> None:
    assert changed(Disk(pieces), written) == expected


def test_little_is_read_to_find_out_where_a_disk_was_not_cut() -> None:
    """And what it costs is bounded: where no proof is found soon, all holes count."""
    assert len((disk := Disk("a." * 5000)).read) == 0
    assert changed(disk, "-" * 10_000) == "-" * 9999 + "c"
    assert len(disk.read) == 1
    none = Disk("a." + "0." * 5000)
    assert changed(none, "-" * 10_002) == "-c" * 5001
    assert len(none.read) == 16


@pytest.mark.parametrize("seed", range(20))
def test_wherever_a_disk_was_cut_all_that_it_lost_counts_as_changed(seed: int) -> None:
    """By a model: pieces are written, it is cut and made larger, pieces are written again, with or without a note."""
    luck, size = random.Random(seed), 60
    for _ in range(100):
        before = "".join(luck.choice("ab0..") for _ in range(size))
        cut = luck.randrange(size + 1)
        now, notes = list(before[:cut].ljust(size, ".")), ["-"] * size
        for at in luck.sample(range(size), luck.choice((0, 1, 5, 30))):
            now[at], notes[at] = luck.choice("cd0."), "w"
        told = changed(Disk("".join(now)), "".join(notes))
        unlike = [at for at in range(size) if before[at].replace("0", ".") != now[at].replace("0", ".")]
        assert all(told[at] == "c" for at in unlike), (before, cut, now)
