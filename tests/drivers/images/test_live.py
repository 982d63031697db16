"""Live backup by a real QEMU under everything that may happen to it: nothing is left behind, and no guest is harmed."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cloud import PROJECT
from tests.conformance.live import await_, disks_in, moment_of, running, sequences, sequences_in
from tests.drivers.images.cloud import ImagesCloud
from tests.drivers.images.test_qemu import pid_of, socket_of
from tests.lab.microguest import SEQUENCE_AT

from restead.domain.errors import Unavailable
from restead.domain.server import Server, ServerStatus
from restead.drivers.images import ImagesDriver
from restead.drivers.images.left_over import LeftOver, noting
from restead.drivers.images.qmp import converse, talking
from restead.ports import Moment

# Opens moments of a server one after the other until it is ended, which it is after so many seconds, or at the first.
OPENER = """
import signal, sys
from pathlib import Path
from restead.drivers.images import *
driver = ImagesDriver(Path(sys.argv[1]), Path(sys.argv[2]), ImagesOptions(accel=Accel.TCG))
ids = [volume.id for volume in driver.server(sys.argv[3], sys.argv[4]).volumes]
print("begins", flush=True)
if seconds := float(sys.argv[5]):
    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends it as SIGKILL would: nothing of ours runs any more
while True:
    with driver.open_moment(sys.argv[3], sys.argv[4], ids):
        if not seconds:
            signal.raise_signal(signal.SIGKILL)
"""


def open_and_be_killed(machines: ImagesCloud, server: Server, runtime: Path, after: float = 0) -> None:
    words = [str(machines.folder / "data"), str(runtime), PROJECT, server.id, str(after)]
    killed = subprocess.run([sys.executable, "-c", OPENER, *words], capture_output=True, check=False)
    assert killed.returncode == -(signal.SIGALRM if after else signal.SIGKILL), killed.stderr


def left_in_qemu(server: Server, runtime: Path) -> list[str]:
    """Return what of ours is in a server's QEMU, but for its bitmaps."""
    with talking(socket_of(runtime), server.id, 30) as monitor:
        nodes = [node["node-name"] for node in monitor.ask("query-named-block-nodes", flat=True)]
        found = [*nodes, *(one["id"] for one in monitor.ask("query-block-exports"))]
        found += [job["id"] for job in monitor.ask("query-jobs")]
    return [name for name in found if name.startswith("restead-")]


def status_of(server: Server, runtime: Path) -> Any:
    return converse(socket_of(runtime), server.id, ["query-status"], 30)[0]["status"]


def assert_nothing_is_left(machines: ImagesCloud, server: Server, runtime: Path) -> None:
    assert left_in_qemu(server, runtime) == []
    assert status_of(server, runtime) == "running"
    assert [path.name for path in runtime.iterdir() if path.suffix == ".nbd"] == []
    assert list((machines.folder / "data/scratch").iterdir()) == []
    with noting(machines.folder / f"data/servers/{server.id}.live") as note:
        assert note is not None
        assert note.read() is None


def read_for_ever(server: Server, moment: Moment) -> None:
    while True:
        disks_in(server, moment)


def go_on() -> None:
    """What a chore is given to call; nothing ends it here."""


def test_nothing_is_left_after_success_and_after_an_error(machines: ImagesCloud, runtime: Path) -> None:
    server = running(machines, "W")
    with moment_of(machines, server):
        assert len(left_in_qemu(server, runtime)) == 8
    assert_nothing_is_left(machines, server, runtime)
    with pytest.raises(KeyError), moment_of(machines, server):
        raise KeyError("the story broke off")
    assert_nothing_is_left(machines, server, runtime)


def test_one_moment_of_a_server_is_open_at_a_time(machines: ImagesCloud, runtime: Path) -> None:
    server = running(machines, "W")
    with moment_of(machines, server) as moment:
        with pytest.raises(Unavailable, match="is being backed up already"), moment_of(machines, server):
            pass
        machines.driver.clean_up(go_on)  # it sees that somebody is at it
        system, data = sequences_in(server, moment)
        assert system <= data <= system + 1
    assert_nothing_is_left(machines, server, runtime)


def test_a_disk_that_was_cut_is_refused_while_its_guest_believes_more(machines: ImagesCloud, runtime: Path) -> None:
    """QEMU reads zeroes behind the end of a disk: they are no backup of what was there."""
    server = running(machines, "H")
    size, words = server.volumes[1].size, f"has 4096 bytes .* believes {server.volumes[1].size}"
    opened = moment_of(machines, server)
    moment = opened.__enter__()
    os.truncate(machines.path_of(server, 1), 4096)
    assert [len(disk) for disk in disks_in(server, moment)] == [server.volumes[0].size, size]
    with pytest.raises(Unavailable, match=words):
        opened.__exit__(None, None, None)
    with pytest.raises(Unavailable, match=words), moment_of(machines, server):
        pass
    assert_nothing_is_left(machines, server, runtime)


def test_what_a_killed_service_left_is_taken_out_at_the_next_start(machines: ImagesCloud, runtime: Path) -> None:
    server = running(machines, "W")
    open_and_be_killed(machines, server, runtime)
    assert len(left_in_qemu(server, runtime)) == 8
    assert list((machines.folder / "data/scratch").iterdir()) == []  # what the guest overwrites has no name
    assert status_of(server, runtime) == "running"
    (machines.folder / f"data/scratch/live-{server.id}-1").touch()  # it was killed before QEMU had opened it
    machines.driver.clean_up(go_on)
    assert_nothing_is_left(machines, server, runtime)


def test_a_server_that_does_not_answer_keeps_no_other_from_being_cleaned_up(
    machines: ImagesCloud, runtime: Path
) -> None:
    options = replace(machines.options, answer_limit=timedelta(seconds=2))
    impatient = ImagesDriver(machines.folder / "data", runtime, options)
    first, other = sorted((running(machines, "W"), running(machines, "W")), key=lambda one: one.id)
    for each in (first, other):
        open_and_be_killed(machines, each, runtime)
    os.kill(pid_of(machines, first), signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match=first.id):
            impatient.clean_up(go_on)
        with noting(machines.folder / f"data/servers/{other.id}.live") as note:
            assert note is not None
            assert note.read() is None
    finally:
        os.kill(pid_of(machines, first), signal.SIGCONT)


def test_what_a_killed_service_left_is_taken_out_by_the_next_backup(machines: ImagesCloud, runtime: Path) -> None:
    server = running(machines, "W")
    open_and_be_killed(machines, server, runtime)
    system, data = sequences(machines, server)
    assert system <= data <= system + 1
    assert_nothing_is_left(machines, server, runtime)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 50))])
def test_a_service_killed_at_any_time_leaves_a_guest_that_runs(
    machines: ImagesCloud, runtime: Path, seed: int
) -> None:
    """At random moments of opening and closing; whoever comes next finds all of it."""
    server, chance = running(machines, "W"), random.Random(seed)
    for _ in range(3):
        open_and_be_killed(machines, server, runtime, after=chance.uniform(0.01, 0.6))
        before = sequences(machines, server) if chance.random() < 0.5 else None
        machines.driver.clean_up(go_on)
        assert_nothing_is_left(machines, server, runtime)
        system, data = sequences(machines, server)
        assert system <= data <= system + 1
        assert before is None or before <= (system, data)
    await_(lambda: sequences(machines, server)[0] > system)


def test_a_guest_that_a_killed_service_has_paused_goes_on(machines: ImagesCloud, runtime: Path) -> None:
    server = running(machines, "W")
    for pid, expected in ((pid_of(machines, server), "running"), (1, "paused")):
        with noting(machines.folder / f"data/servers/{server.id}.live") as note:
            assert note is not None
            note.write(LeftOver(pid, paused=True))
        converse(socket_of(runtime), server.id, ["stop"], 30)
        machines.driver.clean_up(go_on)
        assert status_of(server, runtime) == expected  # who paused another QEMU was not us


def test_a_guest_that_somebody_has_paused_stays_so(machines: ImagesCloud, runtime: Path) -> None:
    server = running(machines, "W")
    converse(socket_of(runtime), server.id, ["stop"], 30)
    with moment_of(machines, server) as moment:
        system, data = sequences_in(server, moment)
        assert system <= data <= system + 1
    assert (status_of(server, runtime), left_in_qemu(server, runtime)) == ("paused", [])


def test_a_killed_qemu_is_said_and_its_server_starts_again(machines: ImagesCloud, runtime: Path) -> None:
    server = running(machines, "W")
    with moment_of(machines, server) as moment:
        system, _ = sequences_in(server, moment)
        os.kill(pid_of(machines, server), signal.SIGKILL)
        await_(lambda: machines.servers.server(PROJECT, server.id).status is ServerStatus.STOPPED)
        with pytest.raises(Unavailable, match=f"server {server.id} ended while it was backed up"):
            disks_in(server, moment)
    machines.servers.start(PROJECT, server.id)
    await_(lambda: sequences(machines, server)[0] > system)
    assert_nothing_is_left(machines, server, runtime)


def test_a_qemu_that_does_not_answer_fails_the_backup_and_is_cleaned_up_later(
    machines: ImagesCloud, runtime: Path
) -> None:
    server = running(machines, "W")
    options = replace(machines.options, answer_limit=timedelta(seconds=1))
    impatient = ImagesDriver(machines.folder / "data", runtime, options)
    pid, ids = pid_of(machines, server), [volume.id for volume in server.volumes]
    with pytest.raises(Unavailable, match="no answer within 1 s"), impatient.open_moment(PROJECT, server.id, ids):
        os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    machines.driver.clean_up(go_on)
    assert_nothing_is_left(machines, server, runtime)


def eject_data_disk(runtime: Path, server: Server) -> None:
    """Do what a guest can do by itself, without being asked: write to the register that takes a PCI device out."""
    with talking(socket_of(runtime), server.id, 30) as monitor:
        for line in ("o /4 0xae10 0", "o /4 0xae08 8"):  # of bus 0, the device in slot 3
            monitor.ask("human-monitor-command", command_line=line)
        found = [one["name"] for one in monitor.ask("qom-list", path="/machine/peripheral")]
    assert "device0" in found
    assert "device1" not in found


def test_a_disk_that_its_guest_ejects_keeps_its_moment_and_nothing_is_left(
    machines: ImagesCloud, runtime: Path
) -> None:
    server = running(machines, "H")
    booting, expected = (machines.path_of(server, number).read_bytes() for number in (0, 1))
    with moment_of(machines, server) as moment:
        eject_data_disk(runtime, server)
        system, data = disks_in(server, moment)
    assert data == expected
    assert system in (booting, machines.path_of(server, 0).read_bytes())  # the guest counts its boot, once
    assert_nothing_is_left(machines, server, runtime)
    words = f"disk {server.volumes[1].id} is not plugged into the running server .* its guest has ejected it"
    with pytest.raises(Unavailable, match=words), moment_of(machines, server):
        pass
    assert_nothing_is_left(machines, server, runtime)


@contextmanager
def small_scratch(machines: ImagesCloud, size: str) -> Iterator[None]:
    folder = machines.folder / "data/scratch"
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "small", str(folder)]
    if subprocess.run(command).returncode != 0:
        pytest.skip("only root may mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_scratch_folder_breaks_the_backup_and_not_the_guest(machines: ImagesCloud, runtime: Path) -> None:
    """The guest overwrites 64 KiB of each disk, and there is room for one of them only."""
    server = running(machines, "W")
    numbers = sequences(machines, server)
    with small_scratch(machines, "64k"):
        with moment_of(machines, server) as moment:
            with pytest.raises(Unavailable, match="the moment of this backup is lost"):
                read_for_ever(server, moment)  # until the guest has filled it
        assert_nothing_is_left(machines, server, runtime)
    await_(lambda: sequences(machines, server) > numbers)
    assert_nothing_is_left(machines, server, runtime)


def test_an_older_qemu_gets_all_scratch_space_reserved_before(
    machines: ImagesCloud, runtime: Path
) -> None:
    """Since there a full scratch file would fail the guest's write."""
    server = running(machines, "W")
    older = ImagesDriver(machines.folder / "data", runtime, replace(machines.options, filters=False))
    ids = [volume.id for volume in server.volumes]
    with small_scratch(machines, "5m"):  # 4 MiB and 2 MiB, and what an image needs besides
        with pytest.raises(Unavailable, match=r"of \d+ bytes cannot be made .* bytes free"):
            with older.open_moment(PROJECT, server.id, ids):
                pass
        assert_nothing_is_left(machines, server, runtime)
    with older.open_moment(PROJECT, server.id, ids) as moment:
        before = sequences_in(server, moment)
        await_(lambda: written(machines, server) > before[1] + 5)
        assert sequences_in(server, moment) == before
    assert_nothing_is_left(machines, server, runtime)
    open_and_be_killed(machines, server, runtime)
    with older.open_moment(PROJECT, server.id, ids) as moment:
        assert sequences_in(server, moment) > before
    assert_nothing_is_left(machines, server, runtime)


def written(machines: ImagesCloud, server: Server) -> int:
    with machines.path_of(server, 1).open("rb") as file:
        file.seek(SEQUENCE_AT)
        return int.from_bytes(file.read(4), "little")
