"""Packs, names and compression: nothing inside a pack can be moved, swapped or taken for something else."""

import os
import random
import resource
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3

from restead.domain.errors import Damaged, Unavailable
from restead.domain.ids import ProjectId
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository.buffers import Aligned
from restead.repository.chunk import Form, Names, Press, expand
from restead.repository.keyring import ProjectKeys
from restead.repository.pack import PACK_THINGS, PackReader, PackWriter, Place, Shelf
from restead.repository.seal import HEADER_SIZE, TAG_SIZE, Kind

KEYS = ProjectKeys(ProjectId("p"), bytes(range(32)), {1: b"\1" * 32, 2: b"\2" * 32}, 2)
NAMES = Names(KEYS.name_key)
THINGS = [b"first " * 700, b"second" * 700, random.Random(1).randbytes(4200)]


def shelf(store: MemoryBlobs) -> Shelf:
    return Shelf(store, KEYS, b"r" * 16, NAMES.tag)


@pytest.fixture
def packed(tmp_path: Path) -> Iterator[tuple[MemoryBlobs, list[tuple[bytes, Place]]]]:
    store = MemoryBlobs()
    writer = PackWriter(shelf(store), tmp_path, Press())
    for thing in THINGS:
        writer.add(Kind.CHUNK, NAMES.chunk(thing), thing)
    return store, writer.finish()


def opened(store: MemoryBlobs, place: Place, name: bytes, kind: Kind = Kind.CHUNK) -> bytes:
    """Return what is stored at *place* as the thing of that name, still compressed."""
    reader = PackReader(shelf(store))
    sealed = bytearray(place.length)
    reader.read(place.pack, place.offset, memoryview(sealed))
    out = bytearray(place.length - TAG_SIZE)
    reader.open_into(place, kind, name, memoryview(sealed), memoryview(out))
    return bytes(out)


def test_what_was_packed_is_unpacked(packed: tuple[MemoryBlobs, list[tuple[bytes, Place]]]) -> None:
    store, stored = packed
    for thing, (name, place) in zip(THINGS, stored, strict=True):
        body = opened(store, place, name)
        assert thing == (body if place.form is Form.RAW else expand(body, place.plain, "it"))
    assert [place.form for _, place in stored] == [Form.ZSTD, Form.ZSTD, Form.RAW]


def test_a_pack_is_named_by_the_digest_of_its_bytes(packed: tuple[MemoryBlobs, list[tuple[bytes, Place]]]) -> None:
    store, stored = packed
    ((name, _),) = store.list("packs/")
    assert f"packs/{NAMES.tag}/{blake3(store.get(name)).hexdigest()}" == name
    assert stored[0][1].pack.hex() == name.rpartition("/")[2]


def test_the_table_of_contents_says_what_is_where(packed: tuple[MemoryBlobs, list[tuple[bytes, Place]]]) -> None:
    store, stored = packed
    ((_name, size),) = store.list("packs/")
    contents = PackReader(shelf(store)).contents(stored[0][1].pack, size)
    assert [(n, *p[1:4], Kind.CHUNK, p.form) for n, p in stored] == [tuple(thing) for thing in contents]


def swapped(store: MemoryBlobs, stored: list[tuple[bytes, Place]]) -> tuple[MemoryBlobs, bytes]:
    """Return a store whose pack has its first two things, of equal length, exchanged; and the pack's name there."""
    ((name, _),) = store.list("packs/")
    data = bytearray(store.get(name))
    first, second = stored[0][1], stored[1][1]
    length = min(first.length, second.length)
    one, other = slice(first.offset, first.offset + length), slice(second.offset, second.offset + length)
    data[one], data[other] = data[other], data[one]
    forged = MemoryBlobs()
    forged.put(name, bytes(data))
    return forged, first.pack


def test_a_chunk_that_changed_places_with_another_does_not_open(
    packed: tuple[MemoryBlobs, list[tuple[bytes, Place]]],
) -> None:
    """Also under the other's name: the nonce is the place, and the name is bound."""
    store, stored = packed
    forged, pack = swapped(store, stored)
    (first, one), (second, other) = stored[:2]
    for name in (first, second):
        for place in (one, other):
            with pytest.raises(Damaged, match=pack.hex()):
                opened(forged, place, name)


@pytest.mark.parametrize("kind", [Kind.PAGE, Kind.ROOT, Kind.CONTENTS])
def test_a_chunk_is_not_taken_for_another_kind(
    packed: tuple[MemoryBlobs, list[tuple[bytes, Place]]], kind: Kind
) -> None:
    store, stored = packed
    name, place = stored[0]
    with pytest.raises(Damaged, match="is damaged"):
        opened(store, place, name, kind)


@pytest.mark.parametrize("change", [{"form": Form.RAW}, {"plain": 4199}, {"offset": 49}])
def test_a_place_that_lies_does_not_open(
    packed: tuple[MemoryBlobs, list[tuple[bytes, Place]]], change: dict[str, int]
) -> None:
    """Index entries are hints: size and form are bound to what was sealed."""
    store, stored = packed
    name, place = stored[0]
    with pytest.raises(Damaged):
        opened(store, place._replace(**change), name)  # type: ignore[arg-type]


def test_another_repository_or_project_cannot_open_it(
    packed: tuple[MemoryBlobs, list[tuple[bytes, Place]]],
) -> None:
    store, stored = packed
    name, place = stored[0]
    strangers = ProjectKeys(ProjectId("q"), KEYS.name_key, {1: b"\1" * 32, 2: b"\7" * 32}, 2)
    for other in (Shelf(store, KEYS, b"s" * 16, NAMES.tag), Shelf(store, strangers, b"r" * 16, NAMES.tag)):
        reader, sealed = PackReader(other), bytearray(place.length)
        reader.read(place.pack, place.offset, memoryview(sealed))
        with pytest.raises(Damaged):
            reader.open_into(place, Kind.CHUNK, name, memoryview(sealed), memoryview(bytearray(place.length - 16)))


def test_a_pack_of_an_older_sealing_key_still_opens(tmp_path: Path) -> None:
    store = MemoryBlobs()
    older = ProjectKeys(KEYS.project, KEYS.name_key, {1: b"\1" * 32}, 1)
    writer = PackWriter(Shelf(store, older, b"r" * 16, NAMES.tag), tmp_path, Press())
    writer.add(Kind.CHUNK, NAMES.chunk(b"old"), b"old")
    ((name, place),) = writer.finish()
    assert opened(store, place, name) == b"old"


class Slow(MemoryBlobs):
    """A store that answers nobody who asks for a header before it is told to, and then maybe with an error."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.answers = threading.Event()
        self.hangs = False

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        if (offset, length) == (0, HEADER_SIZE):
            self.asked += 1
            assert self.answers.wait(60)
            if self.hangs:
                raise Unavailable("the store has not answered in time")
        return super().get_range(name, offset, length)


def _waiting() -> int:
    """Return how many threads wait for what another one does."""
    count = 0
    for frame in sys._current_frames().values():
        while frame is not None and frame.f_code is not Future.result.__code__:
            frame = frame.f_back  # type: ignore[assignment]
        count += frame is not None
    return count


@pytest.mark.parametrize("hangs", [False, True])
def test_threads_that_need_the_same_header_share_what_comes_of_it(tmp_path: Path, hangs: bool) -> None:
    """One asks; if the store hangs all fail when that one does, not one after another, and the next asks again."""
    store = Slow()
    writer = PackWriter(shelf(store), tmp_path, Press())
    writer.add(Kind.CHUNK, NAMES.chunk(THINGS[2]), THINGS[2])
    ((name, place),) = writer.finish()
    reader, sealed, out = PackReader(shelf(store)), memoryview(bytearray(place.length)), bytearray(place.plain)
    reader.read(place.pack, place.offset, sealed)

    def work() -> None:
        reader.open_into(place, Kind.CHUNK, name, sealed, memoryview(bytearray(place.plain)))

    before, store.hangs = _waiting(), hangs
    with ThreadPoolExecutor(5) as pool:
        works = [pool.submit(work) for _ in range(5)]
        try:
            until = time.monotonic() + 30
            while _waiting() - before < 4:
                assert time.monotonic() < until, "the others do not wait for the one that asks"
                time.sleep(0.01)
        finally:
            store.answers.set()
        failed = [type(each.exception()) for each in works]
    assert (failed, store.asked) == ([Unavailable if hangs else type(None)] * 5, 1)
    store.hangs = False
    for _ in range(2):
        reader.open_into(place, Kind.CHUNK, name, sealed, memoryview(out))
    assert (bytes(out), store.asked) == (THINGS[2], 1 + hangs)


def test_the_same_things_packed_twice_are_two_packs_without_a_common_byte_run(tmp_path: Path) -> None:
    """A fresh salt for each: equal contents cannot be seen from outside."""
    store = MemoryBlobs()
    for _ in range(2):
        writer = PackWriter(shelf(store), tmp_path, Press())
        writer.add(Kind.CHUNK, NAMES.chunk(THINGS[2]), THINGS[2])
        writer.finish()
    one, other = (store.get(name)[HEADER_SIZE:] for name, _ in store.list("packs/"))
    assert not any(one[at : at + 8] in other for at in range(0, len(one) - 8, 8))


def test_a_pack_of_tiny_things_is_full_before_its_contents_are_large(tmp_path: Path) -> None:
    writer = PackWriter(shelf(MemoryBlobs()), tmp_path, Press())
    added = 0
    while not writer.add(Kind.CHUNK, os.urandom(32), b"tiny"):
        added += 1
    assert added + 1 == PACK_THINGS
    writer.close()


def test_a_writer_that_is_closed_leaves_nothing(tmp_path: Path) -> None:
    store = MemoryBlobs()
    writer = PackWriter(shelf(store), tmp_path, Press())
    writer.add(Kind.CHUNK, NAMES.chunk(b"x"), b"x")
    writer.close()
    assert writer.finish() + list(tmp_path.iterdir()) + list(store.list("")) == []


def test_no_room_to_make_a_pack_is_unavailable_and_says_so(tmp_path: Path) -> None:
    """A full disk is nothing that we have done wrong: the work may be tried again when there is space."""
    writer = PackWriter(shelf(MemoryBlobs()), tmp_path, Press())
    writer.add(Kind.CHUNK, NAMES.chunk(b"x"), b"x")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(Unavailable, match=r"no room to make packs in: .* are there, 4216 more are wanted"):
            writer.add(Kind.CHUNK, NAMES.chunk(THINGS[2]), THINGS[2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer.close()


def test_names_depend_on_key_and_kind() -> None:
    data = b"the same bytes"
    kinds = [Kind.CHUNK, Kind.PAGE, Kind.ROOT]
    names = {one.name(kind, data) for one in (NAMES, Names(b"\5" * 32)) for kind in kinds}
    assert len(names) == 6
    assert NAMES.chunk(data) == NAMES.name(Kind.CHUNK, data)


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 16384, 262144])
def test_pressing_and_expanding_gives_the_same_bytes(size: int) -> None:
    press = Press()
    for data in (bytes(size), random.Random(size).randbytes(size), (b"half" + os.urandom(4)) * (size // 8)):
        form, body = press.press(data)
        assert data == (bytes(body) if form is Form.RAW else expand(body, len(data), "it"))
        assert len(body) <= len(data)


def test_what_does_not_shrink_is_kept_as_it_is() -> None:
    data = os.urandom(262144)
    form, body = Press().press(data)
    assert form is Form.RAW
    assert body is data


@pytest.mark.parametrize("size", [0, 4095, 4097])
def test_a_frame_of_another_size_is_damaged(size: int) -> None:
    _, body = Press().press(b"frame!" * 682 + b"tail")
    with pytest.raises(Damaged, match="it decompresses"):
        expand(body, size, "it")
    with pytest.raises(Damaged):
        expand(bytes(body) + b"x", 4096, "it")
    with pytest.raises(Damaged):
        expand(b"no frame at all", 4096, "it")


@pytest.mark.parametrize("size", [1, 64, 65536, 65537, 200_000])
def test_a_single_bit_makes_a_buffer_not_zero(size: int) -> None:
    buffer = Aligned(size + 10)
    assert buffer.is_zero(0, size)
    for at in {0, size // 2, size - 1}:
        buffer.view[at] = 1
        assert not buffer.is_zero(0, size)
        buffer.view[at] = 0
    buffer.view[size] = 1
    assert buffer.is_zero(0, size)
