"""What every target does that keeps its space (`KeepsSpace`), and one that is read past caches (`ReadsPastCaches`).

Subclass, and give a fixture `cloud` (see cloud.py), for `SpaceSuite` one whose disks can have holes.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest
from tests.conformance.cloud import MIB, Cloud
from tests.conformance.volumes import read, target_of

from restead.domain.errors import Unavailable
from restead.domain.server import Server
from restead.ports import BlockTarget, KeepsSpace, ReadsPastCaches

SIZE = 4 * MIB
NEAR = 64 << 10  # bytes by which what a disk takes may differ from what was asked for


class RoomyTarget(BlockTarget, KeepsSpace, Protocol):
    """A target that keeps space."""


class ReadableTarget(BlockTarget, ReadsPastCaches, Protocol):
    """A target that is read past caches."""


@contextmanager
def roomy_target_of(cloud: Cloud, server: Server) -> Iterator[RoomyTarget]:
    with target_of(cloud, server) as target:
        assert isinstance(target, KeepsSpace)
        yield target


@contextmanager
def readable_target_of(cloud: Cloud, server: Server) -> Iterator[ReadableTarget]:
    with target_of(cloud, server) as target:
        assert isinstance(target, ReadsPastCaches)
        yield target


def reread(target: ReadsPastCaches, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    target.reread_into(offset, memoryview(buffer))
    return bytes(buffer)


class SpaceSuite:
    @pytest.mark.parametrize("piece", [512, 4096, 100_000, 2 * MIB])
    def test_what_is_blanked_is_zero_and_keeps_its_space(self, cloud: Cloud, piece: int) -> None:
        server, data = cloud.make([SIZE]), bytearray(random.Random(1).randbytes(SIZE))
        with roomy_target_of(cloud, server) as target:
            target.write_at(0, data)
            target.flush()
            full = cloud.allocated(server, server.volumes[0].id)
            for at in range(300, SIZE - piece, max(2 * piece, 60_000)):
                target.blank_at(at, piece)
                data[at : at + piece] = bytes(piece)
            target.flush()
            assert data == read(target)
            assert full - NEAR <= cloud.allocated(server, server.volumes[0].id)
        assert data == cloud.bytes_of(server, server.volumes[0].id)

    def test_a_hole_that_is_blanked_takes_no_space(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE])
        with roomy_target_of(cloud, server) as target:
            target.blank_at(0, SIZE)
            target.blank_at(17, 0)
            target.flush()
        assert cloud.allocated(server, server.volumes[0].id) <= NEAR
        assert bytes(SIZE) == cloud.bytes_of(server, server.volumes[0].id)

    def test_punching_gives_back_the_space_of_what_was_blanked(self, cloud: Cloud) -> None:
        server, data = cloud.make([SIZE]), random.Random(2).randbytes(SIZE)
        with roomy_target_of(cloud, server) as target:
            target.write_at(0, data)
            target.blank_at(MIB, 2 * MIB)
            target.blank_at(SIZE - 4096, 4096)
            target.flush()
            target.punch(MIB, 2 * MIB)
            target.punch(SIZE - 4096, 4096)
            target.flush()
            assert cloud.allocated(server, server.volumes[0].id) <= 2 * MIB + NEAR
        expected = data[:MIB] + bytes(2 * MIB) + data[3 * MIB : -4096] + bytes(4096)
        assert expected == cloud.bytes_of(server, server.volumes[0].id)

    @pytest.mark.parametrize("at", [MIB, MIB + 4095, 2 * MIB - 1])
    def test_punching_never_gives_back_a_byte_that_is_not_zero(self, cloud: Cloud, at: int) -> None:
        server = cloud.make([SIZE])
        with roomy_target_of(cloud, server) as target:
            target.write_at(at, b"x")
            with pytest.raises(Unavailable, match=f"{server.volumes[0].id}.* not zero"):
                target.punch(MIB, MIB)
            target.flush()
            assert read(target, at, 1) == b"x"

    def test_reserving_takes_space_and_changes_no_byte(self, cloud: Cloud) -> None:
        server, data = cloud.make([SIZE]), random.Random(3).randbytes(MIB)
        with roomy_target_of(cloud, server) as target:
            target.write_at(MIB, data)
            target.flush()
            target.reserve(0, SIZE)
            target.reserve(100, 5000)
            target.reserve(SIZE, 0)
            assert cloud.allocated(server, server.volumes[0].id) >= SIZE
            expected = bytes(MIB) + data + bytes(2 * MIB)
            assert expected == read(target)
            target.flush()
        assert expected == cloud.bytes_of(server, server.volumes[0].id)

    def test_what_was_reserved_and_not_used_is_given_back_by_punching(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE])
        with roomy_target_of(cloud, server) as target:
            target.reserve(0, SIZE)
            target.punch(0, SIZE)
            target.flush()
        assert cloud.allocated(server, server.volumes[0].id) <= NEAR

    def test_blanks_beyond_the_end_are_refused(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE])
        with roomy_target_of(cloud, server) as target:
            for change in (target.blank_at, target.reserve, target.punch):
                for offset, length in ((SIZE - 1, 2), (SIZE, 1), (-1, 1)):
                    with pytest.raises(ValueError, match=str(SIZE)):
                        change(offset, length)


class RereadSuite:
    def test_rereading_shows_what_was_flushed_however_it_was_changed(self, cloud: Cloud) -> None:
        server, model = cloud.make([SIZE + 512]), bytearray(SIZE + 512)
        chance = random.Random(4)
        with readable_target_of(cloud, server) as target:
            for _ in range(20):
                offset = chance.randrange(SIZE)
                length = min(chance.choice([1, 512, 4096, 70_000, MIB]), len(model) - offset)
                data = chance.choice([bytes(length), chance.randbytes(length)])
                if not any(data):
                    if isinstance(target, KeepsSpace):
                        target.blank_at(offset, length)
                    target.zero_at(offset, length)
                if any(data) or chance.random() < 0.5:
                    target.write_at(offset, data)
                model[offset : offset + length] = data
                target.flush()
                assert model[offset : offset + length] == reread(target, offset, length)
            assert model == reread(target, 0, len(model))
            with pytest.raises(ValueError, match=str(len(model))):
                reread(target, len(model) - 1, 2)

    def test_many_threads_reread_while_others_write_and_flush(self, cloud: Cloud) -> None:
        """Each sees what itself has flushed."""
        server, errors = cloud.make([SIZE]), list[BaseException]()
        with readable_target_of(cloud, server) as target:

            def work(number: int) -> None:
                try:
                    for at in range(number * MIB, (number + 1) * MIB, 300_000):
                        data = random.Random(at).randbytes(100_000)
                        target.write_at(at, data)
                        target.flush()
                        assert data == reread(target, at, len(data))
                except BaseException as error:  # noqa: BLE001
                    errors.append(error)

            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert errors == []
