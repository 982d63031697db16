"""The images driver does what every implementation of `Servers` and `Volumes` does, whatever the power."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.changes import ChangesSuite
from tests.conformance.live import LiveSuite, LiveVolumesSuite
from tests.conformance.servers import PoweredServersSuite, ServersSuite
from tests.conformance.space import RereadSuite, SpaceSuite
from tests.conformance.volumes import VolumesSuite
from tests.drivers.image_files import needs_loops, needs_qemu_nbd
from tests.drivers.images.cloud import ImagesCloud

from restead.drivers.images import Accel, ImagesOptions, Power


class TestServersWithoutPower(ServersSuite):
    @pytest.fixture
    def cloud(self, images: ImagesCloud) -> ImagesCloud:
        return images


class TestServersByCommand(PoweredServersSuite):
    @pytest.fixture
    def cloud(self, commanded: ImagesCloud) -> ImagesCloud:
        return commanded


class TestServersByQemu(PoweredServersSuite):
    @pytest.fixture
    def cloud(self, machines: ImagesCloud) -> ImagesCloud:
        return machines


class TestVolumesPastThePageCache(VolumesSuite, SpaceSuite, RereadSuite, ChangesSuite):
    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> ImagesCloud:
        return ImagesCloud(tmp_path, runtime, Power.NONE, ImagesOptions(direct_read=True, direct_write=True))


class TestVolumesThroughThePageCache(VolumesSuite, SpaceSuite, RereadSuite, ChangesSuite):
    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> ImagesCloud:
        return ImagesCloud(tmp_path, runtime, Power.NONE, ImagesOptions(direct_read=False, direct_write=False))


class TestVolumesByQemu(LiveVolumesSuite):
    @pytest.fixture
    def cloud(self, machines: ImagesCloud) -> ImagesCloud:
        return machines


class TestVolumesByAnOlderQemu(LiveSuite):
    """One without the filters that live backups use since 7.1."""

    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> Iterator[ImagesCloud]:
        cloud = ImagesCloud(tmp_path, runtime, Power.QEMU, ImagesOptions(accel=Accel.TCG, filters=False))
        yield cloud
        cloud.close()


@needs_qemu_nbd
class TestQcow2PastThePageCache(VolumesSuite, RereadSuite, ChangesSuite):
    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> ImagesCloud:
        options = ImagesOptions(direct_read=True, direct_write=True)
        return ImagesCloud(tmp_path, runtime, Power.NONE, options, format="qcow2")


@needs_qemu_nbd
class TestQcow2ThroughThePageCache(VolumesSuite, RereadSuite, ChangesSuite):
    """And of the older version, in which zeroes of a cluster's size are all there is."""

    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> ImagesCloud:
        options = ImagesOptions(direct_read=False, direct_write=False)
        return ImagesCloud(tmp_path, runtime, Power.NONE, options, format="qcow2", qcow2="compat=0.10")


@needs_loops
@needs_qemu_nbd
class TestQcow2OnDevices(VolumesSuite, RereadSuite):
    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> Iterator[ImagesCloud]:
        cloud = ImagesCloud(tmp_path, runtime, Power.NONE, format="qcow2", devices=True)
        yield cloud
        cloud.close()


@pytest.mark.long
@needs_loops
@needs_qemu_nbd
class TestQcow2OnDevicesByQemu(LiveSuite):
    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> Iterator[ImagesCloud]:
        cloud = ImagesCloud(tmp_path, runtime, Power.QEMU, format="qcow2", devices=True)
        yield cloud
        cloud.close()


@needs_qemu_nbd
class TestQcow2ByQemu(LiveVolumesSuite):
    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> Iterator[ImagesCloud]:
        cloud = ImagesCloud(tmp_path, runtime, Power.QEMU, format="qcow2")
        yield cloud
        cloud.close()
