"""What every disk does that knows where it was written (`TracksChanges`).

Subclass, and give a fixture `cloud` (see cloud.py).
"""

import random
from collections.abc import Sequence

from tests.conformance.cloud import MIB, Cloud
from tests.conformance.volumes import source_of, target_of

from restead.domain.server import Server
from restead.ports import HasIdentity, KeepsSpace, TracksChanges

SIZE = 2 * MIB
Ranges = Sequence[tuple[int, int]]


def generation(cloud: Cloud, server: Server) -> str:
    """Return what the disk is called now, seen by a reader."""
    with source_of(cloud, server) as source:
        assert isinstance(source, TracksChanges)
        return source.generation()


def changed(cloud: Cloud, server: Server, since: str) -> Ranges | None:
    """Return where it changed, seen by a writer."""
    with target_of(cloud, server) as target:
        assert isinstance(target, TracksChanges)
        return target.changed_since(since)


def unchanged(ranges: Ranges | None) -> bool:
    return ranges is not None and len(ranges) == 0


class ChangesSuite:
    def test_what_nobody_has_written_to_has_not_changed(self, cloud: Cloud) -> None:
        """However often it is opened, read and flushed."""
        server = cloud.make([SIZE])
        first = generation(cloud, server)
        assert first
        with target_of(cloud, server) as target:
            target.read_into(0, memoryview(bytearray(SIZE)))
            target.flush()
        assert unchanged(changed(cloud, server, first))
        assert generation(cloud, server) == first

    def test_every_write_is_in_what_has_changed(self, cloud: Cloud) -> None:
        """Writes, zeroes and blanks, of single bytes and of many; and of each of them, one alone is enough."""
        server, luck = cloud.make([SIZE]), random.Random(1)
        for _ in range(12):
            since, before = generation(cloud, server), cloud.bytes_of(server, server.volumes[0].id)
            offset = luck.randrange(SIZE)
            length = min(luck.choice([1, 512, 4096, 100_000]), SIZE - offset)
            with target_of(cloud, server) as target:
                kind = luck.randrange(3)
                if kind == 0:
                    target.write_at(offset, luck.randbytes(length))
                elif kind == 1:
                    target.zero_at(offset, length)
                elif isinstance(target, KeepsSpace):
                    target.blank_at(offset, length)
                target.flush()
            ranges = changed(cloud, server, since)
            if ranges is not None:
                _assert_covered(before, cloud.bytes_of(server, server.volumes[0].id), ranges)

    def test_a_writer_names_what_it_has_written(self, cloud: Cloud) -> None:
        """What is noted after the last write, before the disk is closed, holds at the next opening."""
        server = cloud.make([SIZE])
        with target_of(cloud, server) as target:
            assert isinstance(target, TracksChanges)
            target.write_at(4096, b"written")
            target.flush()
            noted = target.generation()
        assert noted
        assert unchanged(changed(cloud, server, noted))

    def test_a_writer_does_not_name_what_others_have_written(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE])
        with target_of(cloud, server) as target:
            assert isinstance(target, TracksChanges)
            target.write_at(4096, b"written")
            cloud.overwrite(server, server.volumes[0].id, 0, b"by somebody else")
            target.flush()
            assert target.generation() == ""

    def test_a_disk_keeps_its_identity_and_no_other_has_it(self, cloud: Cloud) -> None:
        server = cloud.make([SIZE, SIZE])
        identities = []
        for number in (0, 1, 0):
            with target_of(cloud, server, number) as target:
                assert isinstance(target, HasIdentity)
                target.write_at(0, bytes([number + 1]))
                target.flush()
                identities.append(target.identity())
        assert identities[0] == identities[2] != identities[1]
        with source_of(cloud, server) as source:
            assert isinstance(source, HasIdentity)
            assert source.identity() == identities[0]
            assert [source.is_another(identity) for identity in identities] == [False, True, False]

    def test_a_generation_of_another_disk_or_of_none_says_nothing(self, cloud: Cloud) -> None:
        server, other = cloud.make([SIZE]), cloud.make([SIZE], "other")
        for stranger in ("", "nonsense", "1 2 3", generation(cloud, other)):
            assert changed(cloud, server, stranger) is None


def _assert_covered(before: bytes, after: bytes, ranges: Ranges) -> None:
    model = bytearray(after)
    for offset, length in ranges:
        model[offset : offset + length] = before[offset : offset + length]
    assert model == before
