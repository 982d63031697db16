"""A store in which two puts of one name can win is written by one data folder only."""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conformance.blob_store import BlobStoreConformance, open_file
from tests.drivers.s3.conftest import Keys
from tests.lab.bucket import Bucket
from tests.lab.s3 import one_writer, store_in

from restead.domain.errors import Damaged, NotFound, Unavailable
from restead.drivers.blobs import LocalBlobs, MemoryBlobs, OneWriter, Writer
from restead.drivers.blobs.names import checked
from restead.ports import BlobStore, Buffer


class LooksThenWrites(MemoryBlobs):
    """A store that looks whether a name is taken, and writes a moment later: the last of those who raced stays."""

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        whole = bytes(data) if isinstance(data, Buffer) else b"".join(data)
        if checked(name) in self._objects:
            return False
        time.sleep(0.002)
        self._objects[name] = whole
        return True


def writer(store: BlobStore, folder: Path, *, id: str = "me", host: str = "here") -> OneWriter:
    me = Writer(id, host, str(folder))
    return OneWriter(store, "s3://backups", me, folder / f"lock-{id}-{host}", settling=0.05)


class TestOneWriter(BlobStoreConformance):
    RACES = 2

    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return writer(LooksThenWrites(), tmp_path)


def test_without_it_several_puts_win() -> None:
    """Else the other tests here would show nothing."""
    assert _most_wins(LooksThenWrites()) > 1


def test_on_swift_several_puts_win(swift_bucket: Bucket, keys: Keys) -> None:
    """It looks, then writes: whoever replaces it by something better may drop the claim."""
    keys.to(swift_bucket)
    assert _most_wins(store_in(swift_bucket)) > 1


def _most_wins(store: BlobStore) -> int:
    """Race until several win, as they do sooner or later: on a busy machine one may be done before the others look."""
    with ThreadPoolExecutor(64) as pool:
        for turn in range(200):
            wins = list(pool.map(lambda n, turn=turn: store.put(f"log/{turn}", b"%d" % n), range(64))).count(True)
            assert wins >= 1
            if wins > 1:
                return wins
    return 1


def test_swift_is_found_out_and_its_only_writer_is_named(swift_bucket: Bucket, keys: Keys, tmp_path: Path) -> None:
    keys.to(swift_bucket)
    store = store_in(swift_bucket)
    one = one_writer(store, tmp_path / "one")
    assert one.writer() is None  # nobody has written yet
    assert one.put("log/1", b"x") is True
    assert one.writer() == Writer("me", "here", "one")
    assert one.check() is True
    assert [name for name, _ in one.list("")] == ["log/1"]
    assert {name for name, _ in store.list("")} == {"log/1", "writers/1"}


def test_where_exactly_one_put_wins_any_number_may_write(tmp_path: Path) -> None:
    """That was found out once; nobody races again."""
    store = LocalBlobs(tmp_path / "store")
    one, other = writer(store, tmp_path, id="one"), writer(store, tmp_path, id="other")
    assert one.put("log/1", b"x") is True
    assert other.put("log/1", b"y") is False
    assert other.put("log/2", b"y") is True
    other.delete("log/2")
    assert one.writer() is None
    assert other.take_over() is None
    assert sorted(name for name, _ in store.list("")) == ["log/1", "writers/1"]


@pytest.mark.parametrize(("id", "host"), [("other", "here"), ("me", "elsewhere")])
def test_another_writer_is_refused_and_told_who_writes(tmp_path: Path, id: str, host: str) -> None:
    """Also a copy of the data folder on another machine.  Reading stays free."""
    store = LooksThenWrites()
    writer(store, tmp_path).put("log/1", b"x")
    other = writer(store, tmp_path, id=id, host=host)
    named = rf"one data folder alone writes to it: data folder {tmp_path} on host here\. This is .* on host {host}\."
    puts = (lambda: other.put("log/2", b"y"), lambda: _put_file(other))
    for call in (*puts, lambda: other.delete("log/1"), other.check):
        with pytest.raises(Unavailable, match=named):
            call()
    assert other.get("log/1") == b"x"
    assert [name for name, _ in other.list("log/")] == ["log/1"]
    assert {name for name, _ in store.list("")} == {"log/1", "writers/1"}


def _put_file(store: BlobStore) -> None:
    with open_file(b"y") as fd:
        store.put_file("packs/1", fd)


def test_a_claim_is_taken_over_and_the_old_writer_writes_no_more(tmp_path: Path) -> None:
    store = LooksThenWrites()
    one, other = writer(store, tmp_path), writer(store, tmp_path, id="other", host="elsewhere")
    one.put("log/1", b"x")
    assert other.take_over() == Writer("me", "here", str(tmp_path))
    assert other.take_over() == Writer("other", "elsewhere", str(tmp_path))  # it is ours: nothing to do
    assert other.put("log/2", b"y") is True
    for call in (lambda: one.put("log/3", b"x"), lambda: one.delete("log/2"), lambda: _put_file(one)):
        with pytest.raises(Unavailable, match="on host elsewhere"):
            call()
    assert sorted(name for name, _ in store.list("")) == ["log/1", "log/2", "writers/1", "writers/2"]


def test_of_two_who_write_first_at_once_one_is_refused(tmp_path: Path) -> None:
    """Both may believe that their claim was put; what stands there a moment later decides, for all of them alike."""
    for turn in range(10):
        store = LooksThenWrites()
        writers = [writer(store, tmp_path, id=f"{turn}-{n}") for n in range(4)]

        def put(one: OneWriter) -> bool:
            try:
                return one.put("log/1", b"x")
            except Unavailable:
                return False

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(put, writers))
        assert won.count(True) <= 1
        holder = writers[0].writer()
        assert [w.writer() for w in writers] == [holder] * 4


def test_a_damaged_claim_lets_nobody_write(tmp_path: Path) -> None:
    store = LooksThenWrites()
    store.put("writers/1", b"x" * 200)
    with pytest.raises(Damaged, match="writers/1 is damaged"):
        writer(store, tmp_path).put("log/1", b"x")
    with pytest.raises(NotFound):
        store.get("log/1")


_PUTTER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.lab.bucket import Bucket
from tests.lab.s3 import one_writer, store_in
store = one_writer(store_in(Bucket(sys.argv[2], "backups", "", ""), prefix=sys.argv[3]), Path(sys.argv[4]))
print("ready", flush=True)
sys.stdin.readline()
print(*(int(store.put(f"log/{n}", (sys.argv[5] + " ").encode() * 100)) for n in range(10)))
"""


def test_processes_of_one_data_folder_take_turns(swift_bucket: Bucket, keys: Keys, tmp_path: Path) -> None:
    """A service and a command on the same data folder: of each name exactly one wins, and its bytes stand there."""
    keys.to(swift_bucket)
    store = one_writer(store_in(swift_bucket, prefix="turns"), tmp_path / "data")
    store.put("begin", b"")
    root, folder = str(Path(__file__).parents[3]), str(tmp_path / "data")
    command = [sys.executable, "-c", _PUTTER, root, swift_bucket.endpoint, "turns", folder]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    putters = [subprocess.Popen([*command, str(n)], **pipes) for n in range(3)]
    for putter in putters:
        assert putter.stdout.readline() == "ready\n"
    for putter in putters:
        putter.stdin.write("\n")
        putter.stdin.flush()
    won = [putter.communicate(timeout=120)[0].split() for putter in putters]
    for n in range(10):
        winners = [who for who in range(3) if won[who][n] == "1"]
        assert len(winners) == 1
        assert store.get(f"log/{n}") == f"{winners[0]} ".encode() * 100
