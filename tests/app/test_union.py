"""Two clouds behind the same two doors."""

from datetime import timedelta

import pytest
from tests.conformance.cloud import MIB, OTHER_PROJECT, PROJECT
from tests.fakes.cloud import MemoryCloud

from restead.app.union import Union
from restead.domain.errors import Code, NotFound, Unavailable
from restead.domain.ids import ServerId, VolumeId, new_id
from restead.domain.server import ServerStatus


def _down(operation: str) -> None:
    raise Unavailable("the second cloud does not answer")


def test_each_server_belongs_to_the_cloud_that_knows_it() -> None:
    one, other = MemoryCloud(), MemoryCloud()
    union = Union([one, other])
    first, second = one.add(PROJECT, [MIB], "b"), other.add(PROJECT, [MIB], "a")
    other.add(OTHER_PROJECT, [MIB], "theirs")
    assert [each.name for each in union.servers(PROJECT)] == ["a", "b"]
    for cloud, server in ((one, first), (other, second)):
        volume = server.volumes[0].id
        with union.open_target(PROJECT, server.id, volume) as target:
            target.write_at(0, server.name.encode())
            target.flush()
        with union.open_moment(PROJECT, server.id, [volume]) as moment:
            assert list(moment.sources) == [volume]
        assert cloud.bytes_of(volume)[:1] == server.name.encode()
        union.start(PROJECT, server.id)
        assert cloud.server(PROJECT, server.id).status is ServerStatus.RUNNING
        union.stop(PROJECT, server.id, grace=timedelta())
        assert union.server(PROJECT, server.id).status is ServerStatus.STOPPED


def test_what_nobody_knows_is_not_found() -> None:
    union = Union([MemoryCloud(), MemoryCloud()])
    with pytest.raises(NotFound) as raised:
        union.server(PROJECT, ServerId(new_id()))
    assert raised.value.code is Code.SERVER_NOT_FOUND


def test_a_disk_that_its_cloud_does_not_know_is_not_sought_elsewhere() -> None:
    one, other = MemoryCloud(), MemoryCloud()
    server, stranger = one.add(PROJECT, [MIB], "a"), other.add(PROJECT, [MIB], "b").volumes[0].id
    with pytest.raises(NotFound) as raised, Union([one, other]).open_target(PROJECT, server.id, VolumeId(stranger)):
        pass
    assert raised.value.code is Code.VOLUME_NOT_ATTACHED


def test_servers_are_found_while_the_other_cloud_is_away_and_lists_are_not_short() -> None:
    """A list that leaves servers out without a word would be believed."""
    one, other = MemoryCloud(), MemoryCloud(before=_down)
    server = one.add(PROJECT, [MIB], "a")
    union = Union([one, other])
    assert union.server(PROJECT, server.id).name == "a"
    with pytest.raises(Unavailable):
        union.servers(PROJECT)
    with pytest.raises(Unavailable):
        union.server(PROJECT, ServerId(new_id()))
