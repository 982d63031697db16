"""The libvirt driver does what every implementation of `Servers` and `Volumes` does."""

import pytest
from tests.conformance.changes import ChangesSuite
from tests.conformance.live import LiveVolumesSuite
from tests.conformance.servers import PoweredServersSuite
from tests.conformance.space import RereadSuite, SpaceSuite
from tests.conformance.volumes import VolumesSuite
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.drivers.libvirt.conftest import Cloud


class TestServersOfTheMockHypervisor(PoweredServersSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("test")


class TestServersInThisProcess(PoweredServersSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("embed")


class TestVolumesOfTheMockHypervisor(VolumesSuite, SpaceSuite, RereadSuite, ChangesSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("test")


class TestVolumesInThisProcess(LiveVolumesSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("embed")


class TestQcow2InThisProcess(LiveVolumesSuite, RereadSuite, ChangesSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("embed", format="qcow2")


class TestServersOfADaemon(PoweredServersSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("daemon")


class TestQcow2OfADaemon(LiveVolumesSuite, RereadSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("daemon", format="qcow2")


class TestVolumesOnDevicesOfTheMockHypervisor(VolumesSuite, RereadSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("test", devices=True)


@pytest.mark.long
class TestDevicesInThisProcess(LiveVolumesSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("embed", devices=True)


class TestQcow2OnDevicesOfTheMockHypervisor(VolumesSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("test", format="qcow2", devices=True)


@pytest.mark.long
class TestQcow2OnDevicesInThisProcess(LiveVolumesSuite, RereadSuite):
    @pytest.fixture
    def cloud(self, clouds: Cloud) -> LibvirtCloud:
        return clouds("embed", format="qcow2", devices=True)
