"""The images driver does what every implementation of `Servers` and `Volumes` does, whatever the power."""

from pathlib import Path

import pytest
from tests.conformance.changes import ChangesSuite
from tests.conformance.servers import PoweredServersSuite, ServersSuite
from tests.conformance.space import SpaceSuite
from tests.conformance.volumes import PoweredVolumesSuite, VolumesSuite
from tests.drivers.images.cloud import ImagesCloud

from restead.drivers.images import ImagesOptions, Power


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


class TestVolumesPastThePageCache(VolumesSuite, SpaceSuite, ChangesSuite):
    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> ImagesCloud:
        return ImagesCloud(tmp_path, runtime, Power.NONE, ImagesOptions(direct_read=True, direct_write=True))


class TestVolumesThroughThePageCache(VolumesSuite, SpaceSuite, ChangesSuite):
    @pytest.fixture
    def cloud(self, tmp_path: Path, runtime: Path) -> ImagesCloud:
        return ImagesCloud(tmp_path, runtime, Power.NONE, ImagesOptions(direct_read=False, direct_write=False))


class TestVolumesByQemu(PoweredVolumesSuite):
    @pytest.fixture
    def cloud(self, machines: ImagesCloud) -> ImagesCloud:
        return machines
