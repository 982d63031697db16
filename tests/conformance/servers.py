"""What every implementation of `Servers` does.  Subclass, and give a fixture `cloud` (see cloud.py)."""

import uuid
from datetime import timedelta

import pytest
from tests.conformance.cloud import MIB, OTHER_PROJECT, PROJECT, Cloud

from restead.domain.errors import Code, NotFound, ResteadError
from restead.domain.ids import ServerId
from restead.domain.server import Server, ServerStatus

SHORT = timedelta(seconds=5)


def status(cloud: Cloud, server: Server) -> ServerStatus:
    return cloud.servers.server(PROJECT, server.id).status


class ServersSuite:
    def test_a_server_is_described_with_its_disks_boot_disk_first(self, cloud: Cloud) -> None:
        made = cloud.make([4 * MIB, 1 * MIB], "web-1")
        found = cloud.servers.server(PROJECT, made.id)
        assert (made.id, PROJECT, "web-1") == (found.id, found.project_id, found.name)
        assert found.status is ServerStatus.STOPPED
        assert [volume.size for volume in found.volumes] == [4 * MIB, 1 * MIB]
        assert [volume.bootable for volume in found.volumes] == [True, False]
        assert len({volume.id for volume in found.volumes}) == 2

    def test_what_a_description_says_of_power_is_what_start_does(self, cloud: Cloud) -> None:
        server = cloud.make([4 * MIB], boots=True)
        if server.can_start:
            cloud.servers.start(PROJECT, server.id)
            assert status(cloud, server) == ServerStatus.RUNNING
        else:
            with pytest.raises(ResteadError):
                cloud.servers.start(PROJECT, server.id)
            assert status(cloud, server) == ServerStatus.STOPPED

    def test_another_projects_server_is_not_there(self, cloud: Cloud) -> None:
        """Not even its existence shows: describing, stopping and starting it say the same as for one that never was."""
        theirs = cloud.make([1 * MIB], "theirs", OTHER_PROJECT)
        for id in (theirs.id, ServerId(str(uuid.uuid4())), ServerId("no-such"), ServerId("../../etc/passwd")):
            for ask in (
                lambda id=id: cloud.servers.server(PROJECT, id),
                lambda id=id: cloud.servers.start(PROJECT, id),
                lambda id=id: cloud.servers.stop(PROJECT, id, grace=SHORT),
            ):
                with pytest.raises(NotFound) as raised:
                    ask()
                assert raised.value.code == Code.SERVER_NOT_FOUND

    def test_servers_lists_those_of_the_project_by_name(self, cloud: Cloud) -> None:
        for name in ("b", "a", "c"):
            cloud.make([1 * MIB], name)
        cloud.make([1 * MIB], "theirs", OTHER_PROJECT)
        assert [server.name for server in cloud.servers.servers(PROJECT)] == ["a", "b", "c"]

    def test_ids_that_are_uuids_are_found_in_capitals(self, cloud: Cloud) -> None:
        server = cloud.make([1 * MIB])
        assert server.id == cloud.servers.server(PROJECT, ServerId(server.id.upper())).id

    def test_stopping_a_stopped_server_succeeds(self, cloud: Cloud) -> None:
        server = cloud.make([1 * MIB])
        cloud.servers.stop(PROJECT, server.id, grace=SHORT)
        cloud.servers.stop(PROJECT, server.id, grace=SHORT)
        assert status(cloud, server) == ServerStatus.STOPPED


class PoweredServersSuite(ServersSuite):
    """For clouds that start and stop their servers."""

    def test_a_server_runs_after_start_and_not_after_stop_however_often(self, cloud: Cloud) -> None:
        server = cloud.make([4 * MIB, 1 * MIB], boots=True)
        for _ in range(2):
            cloud.servers.start(PROJECT, server.id)
            cloud.servers.start(PROJECT, server.id)
            assert status(cloud, server) == ServerStatus.RUNNING
            cloud.servers.stop(PROJECT, server.id, grace=SHORT)
            assert status(cloud, server) == ServerStatus.STOPPED
