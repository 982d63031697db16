"""Power by an operator's command: what it says is believed, what it does wrong is told."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.drivers.images.cloud import COMMAND, ImagesCloud

from restead.domain.errors import Unavailable
from restead.domain.ids import ProjectId, ServerId
from restead.domain.server import Server, ServerStatus
from restead.drivers.images.definition import Power, ServerDefinition
from restead.drivers.images.power import CommandSwitch

SHORT = timedelta(seconds=7)


@pytest.fixture
def server(commanded: ImagesCloud) -> Server:
    return commanded.make([MIB])


def test_a_command_is_told_the_seconds_of_grace_and_no_secret(
    commanded: ImagesCloud, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTEAD_PASSPHRASE", "hush")
    monkeypatch.setenv("VIRT_URI", "qemu:///system")
    commanded.command.write_text(COMMAND.replace("\ncase", '\nenv > environment\ncase'))
    commanded.servers.stop(PROJECT, server.id, grace=SHORT)
    environment = (commanded.folder / "environment").read_text()
    assert (commanded.folder / "grace").read_text() == "7\n"
    assert ("RESTEAD_PASSPHRASE" in environment, "VIRT_URI=qemu:///system" in environment) == (False, True)


def test_a_command_that_fails_is_unavailable_with_what_it_complained_about(
    commanded: ImagesCloud, server: Server
) -> None:
    commanded.command.write_text("#!/bin/sh\necho 'no route to host' >&2\nexit 3\n")
    for do in (
        lambda: commanded.servers.server(PROJECT, server.id),
        lambda: commanded.servers.start(PROJECT, server.id),
        lambda: commanded.servers.stop(PROJECT, server.id, grace=SHORT),
        lambda: commanded.volumes.open_target(PROJECT, server.id, server.volumes[0].id).__enter__(),
    ):
        with pytest.raises(Unavailable, match="ended with status 3") as raised:
            do()
        assert raised.value.detail == "no route to host\n"


def test_one_broken_command_does_not_hide_the_other_servers(commanded: ImagesCloud, server: Server) -> None:
    commanded.command.write_text("#!/bin/sh\n[ $2 != broken ] || exit 1\necho stopped\n")
    disk = commanded.folder / "b.raw"
    disk.write_bytes(bytes(512))
    disks = commanded.driver.definition(server.id).disks
    commanded.driver.add(ServerDefinition("broken", PROJECT, (type(disks[0])(disk),), ServerId("broken"), Power.COMMAND,
                                          commanded.command))
    found = {one.name: one for one in commanded.servers.servers(PROJECT)}
    states = {"broken": ServerStatus.ERROR, "web-1": ServerStatus.STOPPED}
    assert {name: one.status for name, one in found.items()} == states
    assert "ended with status 1" in found["broken"].trouble
    assert found["web-1"].trouble == ""


def test_a_status_that_is_none_is_not_guessed_at(commanded: ImagesCloud, server: Server) -> None:
    commanded.command.write_text("#!/bin/sh\necho paused\n")
    with pytest.raises(Unavailable, match="status printed 'paused'"):
        commanded.servers.server(PROJECT, server.id)


def test_a_command_that_claims_success_is_checked(commanded: ImagesCloud, server: Server) -> None:
    commanded.command.write_text("#!/bin/sh\n[ $1 != status ] || echo stopped\n")
    with pytest.raises(Unavailable, match="is stopped after"):
        commanded.servers.start(PROJECT, server.id)
    commanded.command.write_text("#!/bin/sh\n[ $1 != status ] || echo running\n")
    with pytest.raises(Unavailable, match="is running after"):
        commanded.servers.stop(PROJECT, server.id, grace=SHORT)


def test_a_command_that_was_lost_is_unavailable(commanded: ImagesCloud, server: Server) -> None:
    commanded.command.unlink()
    with pytest.raises(Unavailable, match="cannot be called: No such file"):
        commanded.servers.server(PROJECT, server.id)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    command = tmp_path / "hangs"
    command.write_text("#!/bin/sh\nsleep 600 & echo $! > child\nwait\n".replace("child", str(tmp_path / "child")))
    command.chmod(0o700)
    switch = CommandSwitch(status_limit=0.5)
    definition = ServerDefinition("s", ProjectId("p"), (), ServerId("s"), Power.COMMAND, command)
    with pytest.raises(Unavailable, match=r"did not end within 0\.5 s"):
        switch.is_running(definition)
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    until = time.monotonic() + 60
    while not _is_gone(child):  # a killed process takes its moment on a busy machine
        assert time.monotonic() < until
        time.sleep(0.01)


def _is_gone(stat: Path) -> bool:
    try:
        return ") Z " in stat.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
