"""What every implementation of `Volumes`, `Moment`, `BlockSource` and `BlockTarget` does.

Subclass, and give a fixture `cloud` (see cloud.py).
"""

import array
import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.cloud import MIB, OTHER_PROJECT, PROJECT, Cloud
from tests.conformance.servers import SHORT, status

from restead.domain.errors import Code, NotFound, ResteadError, Unavailable
from restead.domain.ids import ServerId, VolumeId
from restead.domain.server import Server, ServerStatus
from restead.ports import BlockSource, BlockTarget, Consistency

SIZE = 2 * MIB


def read(source: BlockSource, offset: int = 0, length: int | None = None) -> bytes:
    buffer = bytearray(source.size - offset if length is None else length)
    source.read_into(offset, memoryview(buffer))
    return bytes(buffer)


@contextmanager
def target_of(cloud: Cloud, server: Server, number: int = 0) -> Iterator[BlockTarget]:
    with cloud.volumes.open_target(PROJECT, server.id, server.volumes[number].id) as target:
        yield target


@contextmanager
def source_of(cloud: Cloud, server: Server, number: int = 0) -> Iterator[BlockSource]:
    volume_id = server.volumes[number].id
    with cloud.volumes.open_moment(PROJECT, server.id, [volume_id]) as moment:
        yield moment.sources[volume_id]


def assert_extents_are_true(source: BlockSource, holds: bytes, offset: int, length: int) -> None:
    """The extents cover the stretch exactly, in order, and what is called zero is zero."""
    at = offset
    for extent in source.extents(offset, length):
        assert (at, True) == (extent.offset, extent.length > 0)
        if not extent.data:
            assert bytes(extent.length) == holds[extent.offset : extent.end]
        at = extent.end
    assert offset + length == at


class VolumesSuite:
    def test_what_is_written_and_flushed_is_there_at_the_next_opening(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE, SIZE])
        data = random.Random(1).randbytes(SIZE)
        with target_of(cloud, server, 1) as target:
            assert target.size == SIZE
            target.write_at(0, data)
            assert data == read(target)
            target.flush()
        with source_of(cloud, server, 1) as source:
            assert (SIZE, data) == (source.size, read(source))
        with source_of(cloud, server, 0) as source:
            assert bytes(SIZE) == read(source)
        assert data == cloud.bytes_of(server, server.volumes[1].id)

    @pytest.mark.parametrize("seed", range(6))
    def test_any_history_of_writes_and_zeroes_is_what_reads_return(self, cloud: Cloud, seed: int) -> None:
        """Offsets and lengths are of all kinds: single bytes, sectors, pages and what lies between."""
        print(f"seed {seed}")
        chance = random.Random(seed)
        size = SIZE + chance.choice([0, 512, 4096, 100 * 512])
        server, model = cloud.make([size]), bytearray(size)
        with target_of(cloud, server) as target:
            for _ in range(60):
                unit = chance.choice([1, 512, 4096])
                offset = chance.randrange(size // unit) * unit
                length = min(chance.randrange(chance.choice([2, 600, 9000, 300_000])), size - offset)
                if chance.random() < 0.6:
                    data = chance.randbytes(length)
                    target.write_at(offset, data)
                    model[offset : offset + length] = data
                elif chance.random() < 0.8:
                    target.zero_at(offset, length)
                    model[offset : offset + length] = bytes(length)
                assert model[offset : offset + length] == read(target, offset, length)
            target.flush()
            assert model == read(target)
            assert_extents_are_true(target, model, 0, size)
            for _ in range(20):
                offset = chance.randrange(size)
                assert_extents_are_true(target, model, offset, chance.randrange(size - offset))
        assert model == cloud.bytes_of(server, server.volumes[0].id)

    def test_a_disk_that_was_zeroed_is_zero(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE])
        with target_of(cloud, server) as target:
            target.write_at(0, b"\xff" * SIZE)
            target.zero_at(0, SIZE)
            target.zero_at(0, SIZE)
            target.zero_at(5, 0)
            target.flush()
            assert bytes(SIZE) == read(target)
        assert bytes(SIZE) == cloud.bytes_of(server, server.volumes[0].id)

    def test_any_kind_of_buffer_is_written(self, cloud: Cloud) -> None:
        server, data = cloud.make([SIZE]), bytes(range(256)) * 32
        with target_of(cloud, server) as target:
            odd, words = memoryview(b"!" + data)[1:], memoryview(array.array("I", data))
            for number, buffer in enumerate([data, bytearray(data), memoryview(data), odd, words]):
                target.write_at(number * len(data), buffer)
                assert data == read(target, number * len(data), len(data))

    def test_nothing_is_read_or_written_beyond_the_end(self, cloud: Cloud) -> None:
        """It is a bug of the caller and leaves the disk as it was, and as large."""
        server = cloud.make([SIZE])
        with target_of(cloud, server) as target:
            for offset, length in ((SIZE - 1, 2), (SIZE, 1), (-1, 1), (2 * SIZE, 4096)):
                for wrong in (
                    lambda at=offset, length=length: target.write_at(at, b"x" * length),
                    lambda at=offset, length=length: target.zero_at(at, length),
                    lambda at=offset, length=length: target.read_into(at, memoryview(bytearray(length))),
                    lambda at=offset, length=length: list(target.extents(at, length)),
                ):
                    with pytest.raises(ValueError, match=str(SIZE)):
                        wrong()
            target.write_at(SIZE, b"")
            target.flush()
        assert bytes(SIZE) == cloud.bytes_of(server, server.volumes[0].id)

    def test_many_threads_write_and_read_one_disk(self, cloud: Cloud) -> None:
        """Each writes pieces of its own, of odd lengths, so that they meet inside pages; none is lost."""
        server, model = cloud.make([SIZE]), random.Random(7).randbytes(SIZE)
        pieces = list(range(0, SIZE, 2_500))
        wrong: list[BaseException] = []
        with target_of(cloud, server) as target:

            def write(mine: list[int]) -> None:
                try:
                    for at in mine:
                        target.write_at(at, model[at : at + 2_500])
                        assert model[at : at + 2_500] == read(target, at, len(model[at : at + 2_500]))
                        assert next(target.extents(at, SIZE - at)).data
                except BaseException as error:  # noqa: BLE001
                    wrong.append(error)

            threads = [threading.Thread(target=write, args=(pieces[number::4],)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            target.flush()
        assert wrong == []
        assert model == cloud.bytes_of(server, server.volumes[0].id)

    def test_a_moment_shows_all_disks_asked_for_under_the_ids_asked_for(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE, 1 * MIB, 3 * MIB])
        ids = [server.volumes[2].id, VolumeId(server.volumes[0].id.upper())]
        with cloud.volumes.open_moment(PROJECT, server.id, ids) as moment:
            assert {ids[0]: 3 * MIB, ids[1]: SIZE} == {id: source.size for id, source in moment.sources.items()}
            assert timedelta(0) <= datetime.now(UTC) - moment.taken_at < timedelta(minutes=1)
            assert Consistency.OFFLINE is moment.consistency

    def test_what_is_not_there_is_not_found(self, cloud: Cloud) -> None:
        server, theirs = cloud.make([SIZE]), cloud.make([SIZE], "theirs", OTHER_PROJECT)
        mine, stranger = server.volumes[0].id, VolumeId(str(uuid.uuid4()))
        cases = [
            (theirs.id, theirs.volumes[0].id, Code.SERVER_NOT_FOUND),
            (ServerId(str(uuid.uuid4())), mine, Code.SERVER_NOT_FOUND),
            (server.id, stranger, Code.VOLUME_NOT_ATTACHED),
            (server.id, theirs.volumes[0].id, Code.VOLUME_NOT_ATTACHED),
        ]
        for server_id, volume_id, code in cases:
            with pytest.raises(NotFound) as raised, cloud.volumes.open_target(PROJECT, server_id, volume_id):
                pass
            assert code == raised.value.code
            with pytest.raises(NotFound) as raised, cloud.volumes.open_moment(PROJECT, server_id, [volume_id]):
                pass
            assert code == raised.value.code

    def test_a_target_excludes_everybody_else(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE, SIZE])
        with target_of(cloud, server):
            with pytest.raises(Unavailable, match=server.volumes[0].id), target_of(cloud, server):
                pass
            with pytest.raises(Unavailable, match=server.volumes[0].id), source_of(cloud, server):
                pass
            with target_of(cloud, server, 1), pytest.raises(Unavailable), source_of(cloud, server, 1):
                pass

    def test_a_moment_excludes_targets_and_welcomes_moments(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE])
        with source_of(cloud, server) as one, source_of(cloud, server) as other:
            assert read(one) == read(other)
            with pytest.raises(Unavailable, match=server.volumes[0].id), target_of(cloud, server):
                pass

    def test_a_disk_opens_again_after_it_was_closed_also_by_an_error(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE])
        for opening in (target_of, source_of, target_of):
            with pytest.raises(KeyError), opening(cloud, server):
                raise KeyError("the story broke off")
        with target_of(cloud, server) as target:
            target.write_at(0, b"again")


class PoweredVolumesSuite(VolumesSuite):
    """For clouds that start and stop their servers."""

    def test_disks_of_a_running_server_do_not_open_for_writing(self, cloud: Cloud) -> None:
        server = cloud.make([4 * MIB, SIZE], boots=True)
        cloud.servers.start(PROJECT, server.id)
        for number in (0, 1):
            with pytest.raises(Unavailable), target_of(cloud, server, number):
                pass
        cloud.servers.stop(PROJECT, server.id, grace=SHORT)
        with target_of(cloud, server) as target, source_of(cloud, server, 1):
            target.flush()

    def test_a_server_does_not_start_while_a_disk_of_it_is_open(self, cloud: Cloud) -> None:
        server = cloud.make([4 * MIB, SIZE], boots=True)
        for opening, number in ((target_of, 0), (source_of, 0), (target_of, 1), (source_of, 1)):
            with opening(cloud, server, number):
                with pytest.raises(ResteadError):
                    cloud.servers.start(PROJECT, server.id)
                assert status(cloud, server) == ServerStatus.STOPPED
        cloud.servers.start(PROJECT, server.id)
        assert status(cloud, server) == ServerStatus.RUNNING


class OfflineVolumesSuite(PoweredVolumesSuite):
    """For clouds whose disks are read only while their server is stopped."""

    def test_disks_of_a_running_server_do_not_open_at_all(self, cloud: Cloud) -> None:
        server = cloud.make([4 * MIB, SIZE], boots=True)
        cloud.servers.start(PROJECT, server.id)
        for number in (0, 1):
            with pytest.raises(Unavailable), source_of(cloud, server, number):
                pass
