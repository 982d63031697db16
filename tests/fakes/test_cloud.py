"""The cloud in memory is as honest as the real ones."""

import random
from collections.abc import Sequence

import pytest
from tests.conformance.changes import ChangesSuite
from tests.conformance.cloud import PROJECT
from tests.conformance.servers import PoweredServersSuite, ServersSuite
from tests.conformance.space import RereadSuite, SpaceSuite
from tests.conformance.volumes import OfflineVolumesSuite
from tests.fakes.cloud import MemoryCloud

from restead.domain.ids import ProjectId, VolumeId
from restead.domain.server import Server


class _Cloud:
    def __init__(self, can_start: bool) -> None:
        self.fake = MemoryCloud()
        self.servers = self.volumes = self.fake
        self._can_start = can_start

    def make(
        self, sizes: Sequence[int], name: str = "web-1", project: ProjectId = PROJECT, *, boots: bool = False
    ) -> Server:
        return self.fake.add(project, sizes, name, can_start=self._can_start)

    def bytes_of(self, server: Server, volume_id: VolumeId) -> bytes:
        return self.fake.bytes_of(volume_id)

    def overwrite(self, server: Server, volume_id: VolumeId, offset: int, data: bytes) -> None:
        self.fake.fill(volume_id, data, offset)

    def allocated(self, server: Server, volume_id: VolumeId) -> int:
        return self.fake.allocated(volume_id)


class TestServersInMemory(PoweredServersSuite):
    @pytest.fixture
    def cloud(self) -> _Cloud:
        return _Cloud(can_start=True)


class TestServersInMemoryWithoutPower(ServersSuite):
    @pytest.fixture
    def cloud(self) -> _Cloud:
        return _Cloud(can_start=False)


class TestVolumesInMemory(OfflineVolumesSuite, SpaceSuite, RereadSuite, ChangesSuite):
    @pytest.fixture
    def cloud(self) -> _Cloud:
        return _Cloud(can_start=True)


def test_a_power_cut_brings_back_what_was_before_the_last_flush() -> None:
    cloud = MemoryCloud()
    server = cloud.add(PROJECT, [8192])
    disk = server.volumes[0].id
    with cloud.open_target(PROJECT, server.id, disk) as target:
        target.write_at(0, b"kept")
        target.flush()
        target.write_at(2, b"lost")
        target.zero_at(0, 2)
        assert cloud.bytes_of(disk)[:6] == b"\0\0lost"
    cloud.lose_unflushed()
    assert cloud.bytes_of(disk)[:6] == b"kept\0\0"


def test_a_partial_power_cut_keeps_some_writes_and_loses_others() -> None:
    cloud = MemoryCloud()
    server = cloud.add(PROJECT, [8192])
    disk = server.volumes[0].id
    with cloud.open_target(PROJECT, server.id, disk) as target:
        for at in range(64):
            target.write_at(at, b"w")
    cloud.lose_unflushed(random.Random(3))
    assert {0, ord("w")} == set(cloud.bytes_of(disk)[:64])
