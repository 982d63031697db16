"""What every BlobStore does.  Subclass it with a fixture `store`; every driver and every fake passes."""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from restead.domain.errors import Damaged, NotFound
from restead.ports import BlobStore, ReadsIntoBuffers

HASH = "3f" * 32
BAD_NAMES = ["", "/a", "a/", "a//b", "a/./b", "..", "a/../b", "A", "a b", "a=b", "ä", "a\0b", "a\n", "x" * 201]


@contextmanager
def open_file(data: bytes) -> Iterator[int]:
    """A regular file with a name, open for reading and writing."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.fileno()


class BlobStoreConformance:
    RACES, MANY = 8, 150  # a store where each request takes long is asked less

    def test_what_was_put_is_what_is_got(self, store: BlobStore) -> None:
        assert store.put("log/1", b"some bytes") is True
        assert store.get("log/1") == b"some bytes"

    def test_an_empty_object_is_an_object(self, store: BlobStore) -> None:
        assert store.put("empty", b"") is True
        assert store.put("empty", b"") is False
        assert store.get("empty") == b""

    def test_several_buffers_are_stored_as_one_object(self, store: BlobStore) -> None:
        parts = [b"one", bytearray(b""), memoryview(b"-two-xx")[1:4], bytearray(b"three")]
        assert store.put("parts", parts) is True
        assert store.get("parts") == b"onetwothree"

    def test_more_buffers_than_one_call_takes_are_stored(self, store: BlobStore) -> None:
        parts = [bytes([n % 251]) * 3 for n in range(3000)]
        store.put("many", parts)
        assert store.get("many") == b"".join(parts)

    def test_a_name_is_given_once(self, store: BlobStore) -> None:
        assert store.put("log/1", b"first") is True
        assert store.put("log/1", b"second") is False
        assert store.get("log/1") == b"first"

    @pytest.mark.parametrize("name", [f"packs/{HASH}", "log/17", "a", "deep/er/and/deep.er/-_"])
    def test_names_come_back_from_listings_as_they_were_given(self, store: BlobStore, name: str) -> None:
        store.put(name, b"12345")
        assert list(store.list("")) == [(name, 5)]
        assert list(store.list(name)) == [(name, 5)]
        assert store.get(name) == b"12345"

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_bad_names_are_refused_everywhere(self, store: BlobStore, name: str) -> None:
        with open_file(b"x") as fd:
            for call in (
                lambda: store.put(name, b"x"),
                lambda: store.put_file(name, fd),
                lambda: store.get(name),
                lambda: store.get_range(name, 0, 1),
                lambda: store.delete(name),
            ):
                with pytest.raises(ValueError, match="no object can be called"):
                    call()
        assert list(store.list("")) == []

    def test_listings_show_exactly_what_begins_with_the_prefix(self, store: BlobStore) -> None:
        for name in (f"packs/{HASH}", "packs/" + "40" * 32, "log/1", "log/12", "log/2", "logs"):
            store.put(name, name.encode())
        assert sorted(store.list("log/1")) == [("log/1", 5), ("log/12", 6)]
        assert sorted(store.list("log")) == [("log/1", 5), ("log/12", 6), ("log/2", 5), ("logs", 4)]
        assert sorted(store.list("packs/3f3")) == [(f"packs/{HASH}", 70)]
        assert list(store.list("nothing/here")) == []
        assert len(list(store.list(""))) == 6

    def test_what_is_not_there_is_not_found(self, store: BlobStore) -> None:
        for call in (
            lambda: store.get("log/9"),
            lambda: store.get_range("log/9", 0, 1),
            lambda: store.get(f"packs/{HASH}"),
        ):
            with pytest.raises(NotFound, match=r"log/9|packs/3f"):
                call()

    def test_ranges_are_exact(self, store: BlobStore) -> None:
        store.put("r", bytes(range(100)))
        assert store.get_range("r", 0, 100) == bytes(range(100))
        assert store.get_range("r", 10, 5) == bytes(range(10, 15))
        assert store.get_range("r", 99, 1) == b"c"
        assert store.get_range("r", 100, 0) == b""

    @pytest.mark.parametrize(("offset", "length"), [(90, 11), (100, 1), (200, 1), (0, 101)])
    def test_a_range_behind_the_end_is_damage_and_says_both_numbers(
        self, store: BlobStore, offset: int, length: int
    ) -> None:
        store.put("r", bytes(100))
        with pytest.raises(Damaged, match=rf"r holds .* bytes, {length} from {offset}"):
            store.get_range("r", offset, length)

    def test_ranges_are_read_into_buffers(self, store: BlobStore) -> None:
        if not isinstance(store, ReadsIntoBuffers):
            return
        store.put("r", bytes(range(100)))
        buffer = bytearray(30)
        store.get_range_into("r", 20, memoryview(buffer)[5:15])
        assert bytes(buffer) == bytes(5) + bytes(range(20, 30)) + bytes(15)
        with pytest.raises(Damaged):
            store.get_range_into("r", 95, memoryview(buffer))
        with pytest.raises(NotFound):
            store.get_range_into("q", 95, memoryview(buffer))

    def test_deleting_is_repeatable(self, store: BlobStore) -> None:
        store.put(f"packs/{HASH}", b"x")
        assert store.get_range(f"packs/{HASH}", 0, 1) == b"x"
        for _ in range(2):
            store.delete(f"packs/{HASH}")
        store.delete("never/was/there")
        with pytest.raises(NotFound):
            store.get_range(f"packs/{HASH}", 0, 1)
        assert list(store.list("")) == []
        assert store.put(f"packs/{HASH}", b"y") is True
        assert store.get_range(f"packs/{HASH}", 0, 1) == b"y"

    def test_a_file_is_stored_whole_wherever_it_stands(self, store: BlobStore) -> None:
        data = os.urandom(300_000)
        with open_file(data) as fd:
            os.lseek(fd, 777, os.SEEK_SET)
            assert store.put_file(f"packs/{HASH}", fd) is True
            assert store.put_file(f"packs/{HASH}", fd) is False
        assert store.get(f"packs/{HASH}") == data

    def test_a_stored_file_does_not_change_with_the_file_it_came_from(self, store: BlobStore) -> None:
        with open_file(b"before") as fd:
            store.put_file("packs/a", fd)
            os.pwrite(fd, b"after!", 0)
        assert store.get("packs/a") == b"before"

    def test_of_many_racing_puts_of_one_name_exactly_one_wins(self, store: BlobStore) -> None:
        with ThreadPoolExecutor(64) as pool:
            for turn in range(self.RACES):
                name = f"log/{turn}"
                bodies = [b"%d-%d " % (turn, n) * 500 for n in range(64)]
                won = list(pool.map(lambda body, name=name: store.put(name, body), bodies))
                assert won.count(True) == 1
                assert store.get(name) == bodies[won.index(True)]

    def test_nobody_ever_sees_a_part(self, store: BlobStore) -> None:
        body = os.urandom(200_000)

        def look(n: int) -> None:
            while True:
                try:
                    found = store.get(f"whole/{n}")
                except NotFound:
                    continue
                assert found == body
                return

        with ThreadPoolExecutor(2) as pool:
            looking = [pool.submit(look, n) for n in range(20)]
            for n in range(20):
                store.put(f"whole/{n}", body)
            for future in looking:
                future.result(timeout=60)

    def test_many_threads_read_while_files_come_and_go(self, store: BlobStore) -> None:
        bodies = {f"packs/{n:064x}": bytes([n]) * 1000 for n in range(self.MANY)}
        for name, body in bodies.items():
            store.put(name, body)

        def read(name: str) -> bool:
            return store.get_range(name, 10, 500) == bodies[name][10:510]

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(read, list(bodies) * 6))
