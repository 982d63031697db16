"""Power by QEMU, with a real QEMU and a guest that reports and obeys its power button."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.drivers.images.cloud import ImagesCloud
from tests.lab.microguest import Report, await_report, expected_data, make_data_disk, set_mode

from restead.domain.errors import InvalidRequest, NotFound, Unavailable
from restead.domain.server import Server, ServerStatus
from restead.drivers.images import Accel, ImagesDriver, ImagesOptions
from restead.drivers.images.process import find
from restead.drivers.images.qmp import NoAnswer, converse

GRACE = timedelta(seconds=20)


@pytest.fixture
def server(machines: ImagesCloud) -> Server:
    server = machines.make([4 * MIB, 2 * MIB], boots=True)
    make_data_disk(machines.path_of(server, 1), 2 * MIB)
    return server


def start(machines: ImagesCloud, server: Server, boots: int = 1) -> Report:
    machines.servers.start(PROJECT, server.id)
    return await_report(machines.driver.serial_log(server.id), lambda report: report.ready and report.boots == boots)


def status(machines: ImagesCloud, server: Server) -> ServerStatus:
    return machines.servers.server(PROJECT, server.id).status


def pid_of(machines: ImagesCloud, server: Server) -> int:
    with find(machines.folder / f"data/servers/{server.id}.pid") as running:
        assert running is not None
        return running.pid


def socket_of(runtime: Path) -> Path:
    return next(runtime.glob("*.qmp"))


def await_status(machines: ImagesCloud, server: Server, wanted: ServerStatus) -> None:
    until = time.monotonic() + 20
    while status(machines, server) is not wanted:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_guest_finds_its_disks_in_order_and_hears_its_power_button(machines: ImagesCloud, server: Server) -> None:
    expected = Report("conformance", 1, expected_data(machines.path_of(server, 1)), ready=True)
    assert start(machines, server) == expected
    machines.servers.stop(PROJECT, server.id, grace=GRACE)
    log = machines.driver.serial_log(server.id)
    assert log.read_text().endswith("MG-POWERBUTTON\n")
    assert start(machines, server, boots=2) == replace(expected, boots=2)


def test_a_guest_that_does_not_boot_is_forced_after_the_grace(machines: ImagesCloud) -> None:
    server = machines.make([4 * MIB])
    machines.servers.start(PROJECT, server.id)
    began = time.monotonic()
    machines.servers.stop(PROJECT, server.id, grace=timedelta(seconds=0.5))
    assert 0.5 <= time.monotonic() - began < 30
    assert status(machines, server) is ServerStatus.STOPPED


def test_a_guest_that_powers_itself_off_is_stopped(machines: ImagesCloud, server: Server) -> None:
    set_mode(machines.path_of(server), "R")
    for boots in (1, 2):
        start(machines, server, boots)
        await_status(machines, server, ServerStatus.STOPPED)
    machines.servers.stop(PROJECT, server.id, grace=GRACE)


def test_a_qemu_that_does_not_answer_is_killed(machines: ImagesCloud, server: Server) -> None:
    start(machines, server)
    os.kill(pid_of(machines, server), signal.SIGSTOP)
    machines.servers.stop(PROJECT, server.id, grace=timedelta(seconds=0.2))
    assert status(machines, server) is ServerStatus.STOPPED
    with machines.volumes.open_target(PROJECT, server.id, server.volumes[0].id):
        pass


def test_a_qemu_that_talks_to_somebody_else_is_stopped_as_well(
    machines: ImagesCloud, server: Server, runtime: Path
) -> None:
    """Its socket serves one client at a time, and a second one would wait for ever."""
    start(machines, server)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(socket_of(runtime)))
        machines.servers.stop(PROJECT, server.id, grace=timedelta(seconds=0.2))
    assert status(machines, server) is ServerStatus.STOPPED


def test_a_paused_guest_goes_on_at_start_and_stops_at_stop(
    machines: ImagesCloud, server: Server, runtime: Path
) -> None:
    start(machines, server)
    converse(socket_of(runtime), server.id, ["stop"], 5)
    assert start(machines, server).boots == 1
    converse(socket_of(runtime), server.id, ["stop"], 5)
    machines.servers.stop(PROJECT, server.id, grace=GRACE)
    assert machines.driver.serial_log(server.id).read_text().endswith("MG-POWERBUTTON\n")


def test_a_qemu_outlives_a_killed_service_and_is_found_by_the_next(
    machines: ImagesCloud, server: Server, runtime: Path
) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from restead.drivers.images import *\n"
        "driver = ImagesDriver(Path(sys.argv[1]), Path(sys.argv[2]), ImagesOptions(accel=Accel.TCG))\n"
        "driver.start(sys.argv[3], sys.argv[4])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    arguments = [str(machines.folder / "data"), str(runtime), PROJECT, server.id]
    killed = subprocess.run([sys.executable, "-c", program, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert status(machines, server) is ServerStatus.RUNNING
    pid = pid_of(machines, server)
    assert start(machines, server).boots == 1  # the same one goes on
    assert pid_of(machines, server) == pid
    machines.servers.stop(PROJECT, server.id, grace=GRACE)
    assert status(machines, server) is ServerStatus.STOPPED


def test_another_process_that_got_the_pid_is_not_mistaken_and_not_harmed(
    machines: ImagesCloud, server: Server
) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            (machines.folder / f"data/servers/{server.id}.pid").write_text(f"{stranger.pid}\n")
            assert status(machines, server) is ServerStatus.STOPPED
            machines.servers.stop(PROJECT, server.id, grace=timedelta())
            start(machines, server)
            machines.servers.stop(PROJECT, server.id, grace=GRACE)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_killed_qemu_leaves_a_server_that_starts_again(machines: ImagesCloud, server: Server) -> None:
    start(machines, server)
    os.kill(pid_of(machines, server), signal.SIGKILL)
    await_status(machines, server, ServerStatus.STOPPED)
    assert start(machines, server, boots=2).ready


def test_a_running_server_is_not_removed(machines: ImagesCloud, server: Server) -> None:
    start(machines, server)
    with pytest.raises(InvalidRequest, match="is running"):
        machines.driver.remove(server.id)
    machines.servers.stop(PROJECT, server.id, grace=GRACE)
    machines.driver.remove(server.id)
    with pytest.raises(NotFound):
        machines.servers.server(PROJECT, server.id)
    assert [path.name for path in (machines.folder / "data/servers").iterdir()] == [".lock"]


def test_a_disk_in_use_is_named_in_the_reason_of_not_starting(machines: ImagesCloud, server: Server) -> None:
    with machines.volumes.open_target(PROJECT, server.id, server.volumes[1].id):
        with pytest.raises(Unavailable, match="QEMU ended with status 1") as raised:
            machines.servers.start(PROJECT, server.id)
    assert "lock" in raised.value.detail
    assert str(machines.path_of(server, 1)) in raised.value.detail


def test_a_long_serial_log_is_put_aside_at_start(machines: ImagesCloud, server: Server) -> None:
    log = machines.driver.serial_log(server.id)
    log.write_bytes(b"x" * (MIB + 1))
    start(machines, server)
    assert (log.stat().st_size < 1000, log.with_suffix(".1").stat().st_size) == (True, MIB + 1)


def test_what_is_missing_is_named(machines: ImagesCloud, server: Server, tmp_path: Path, runtime: Path) -> None:
    data = machines.folder / "data"
    without = ImagesDriver(data, runtime, ImagesOptions(accel=Accel.TCG, qemu="qemu-system-none"))
    with pytest.raises(Unavailable, match="qemu-system-none was not found: install QEMU"):
        without.start(PROJECT, server.id)
    far = ImagesDriver(data, tmp_path / ("x" * 100), ImagesOptions(accel=Accel.TCG))
    with pytest.raises(InvalidRequest, match=r"socket paths of \d+ bytes, at most 107"):
        far.start(PROJECT, server.id)


def test_another_guest_at_the_socket_is_not_commanded(machines: ImagesCloud, server: Server, runtime: Path) -> None:
    start(machines, server)
    with pytest.raises(NoAnswer, match="not another"):
        converse(socket_of(runtime), "another", ["quit"], 5)
    assert status(machines, server) is ServerStatus.RUNNING


def test_a_socket_that_nobody_serves_is_said_to_hang(runtime: Path) -> None:
    """Some connections wait in the kernel to be taken; then none is made any more, and no error says so."""
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(runtime / "hangs.qmp"))
        hangs.listen(0)
        for _ in range(3):
            with pytest.raises(NoAnswer, match="it hangs, or somebody else is connected to it"):
                converse(runtime / "hangs.qmp", "somebody", ["query-status"], 0.2)


def test_what_is_no_qemu_does_not_start_a_server(machines: ImagesCloud, server: Server, runtime: Path) -> None:
    program = machines.folder / "qemu"
    program.write_text("#!/bin/sh\necho 'no such machine' >&2\nexit 4\n")
    program.chmod(0o700)
    driver = ImagesDriver(machines.folder / "data", runtime, ImagesOptions(accel=Accel.TCG, qemu=str(program)))
    with pytest.raises(Unavailable, match="QEMU ended with status 4") as raised:
        driver.start(PROJECT, server.id)
    assert raised.value.detail == "no such machine"
