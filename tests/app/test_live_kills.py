"""A service, or the QEMU that it reads, is killed in the middle of a backup or a restore of a server that runs.

Whatever the moment: what is called good is good, no guest stays paused or filtered, and the next backup works.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.app.live import Content, Guest, protect, wait
from tests.app.live_domain import DomainGuest
from tests.app.running import Place, Running, service
from tests.app.test_live import place_for
from tests.lab.domains import STOP_ALL, in_own_process, libvirtd
from tests.lab.microguest import SECTOR

_RATE = 2 << 20  # bytes per second: some seconds for the disks
_LATEST = {"backup": 5.0, "restore": 6.0}  # seconds after which somebody is killed: a restore stops the guest first
_SUMMED, _SCRIBBLED = 16 * SECTOR, 6 << 20  # bytes of the data disk: from where on it is summed; how much is other


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield from place_for(tmp_path)


def _throttle(running: Running, rate: int | None, admin: str) -> None:
    for what in ("servers", "restores"):
        body, headers = {"throttle": {"bytes_per_second": rate}}, {"X-Auth-Token": admin}
        assert running.http.post(f"/{what}/action", json=body, headers=headers).status_code == 200


def _kill(running: Running, guest: Guest, who: str) -> None:
    if who == "service":
        running.kill()
    else:
        try:
            os.kill(guest.pid(), signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            pass  # a restore has stopped it already


def _begun(running: Running, guest: Guest, deed: str, first: str) -> str:
    if deed == "backup":
        return running.begin_backup(guest.id, full=True)
    return running.begin_restore(first, power_on=True)


def _scribble(guest: Guest, chance: random.Random) -> None:
    """Let most of the data disk of the stopped guest be something else: then a restore has to write some seconds."""
    path = guest.disks[1]
    raw = path.with_suffix(".scribbled")
    raw.write_bytes(chance.randbytes(_SCRIBBLED))
    if guest.format == "qcow2":
        command = f"write -s {raw} {_SUMMED} {_SCRIBBLED}"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, str(path)], check=True, stdout=subprocess.DEVNULL)
    else:
        with path.open("r+b") as file:
            file.seek(_SUMMED)
            file.write(raw.read_bytes())
    raw.unlink()


def _ended(running: Running, deed: str, id: str) -> Any:
    return running.wait_for_backup(id) if deed == "backup" else running.wait_for_restore(id)


def _runs(guest: Guest, running: Running) -> bool:
    return bool(running.get(f"/servers/{guest.id}")["server"]["status"] == "running")


def _brought_back(running: Running, guest: Guest, backup: str) -> Content:
    """Restore a backup and return what the disks hold then, the server stopped."""
    restored = running.wait_for_restore(running.begin_restore(backup))
    assert restored["status"] == "success", restored
    return guest.content()


@pytest.fixture
def left() -> Iterator[ExitStack]:
    """What has to be ended, last first."""
    with ExitStack() as left:
        yield left


def _guest(where: str, place: Place, format: str, left: ExitStack) -> Guest:
    if where == "images":
        return Guest(place, format=format)
    pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")
    uri = left.enter_context(libvirtd())
    left.callback(in_own_process, uri, STOP_ALL)
    return DomainGuest(place, uri, format=format)


def _long(where: str, deed: str, who: str, count: int, first: int = 0) -> list[Any]:
    return [pytest.param(where, deed, who, first + seed, marks=pytest.mark.long) for seed in range(count)]


_CASES = [
    pytest.param("images", "backup", "service", 0),
    *_long("images", "backup", "service", 14, first=1), *_long("images", "backup", "qemu", 15),
    *_long("images", "restore", "service", 12), *_long("images", "restore", "qemu", 8),
    *_long("libvirt", "backup", "service", 20), *_long("libvirt", "backup", "qemu", 8),
    *_long("libvirt", "restore", "service", 15), *_long("libvirt", "restore", "qemu", 7),
]  # fmt: skip


@pytest.mark.parametrize(("where", "deed", "who", "seed"), _CASES)
def test_a_kill_at_any_moment_harms_no_guest_and_makes_nothing_good_that_is_not(
    place: Place, left: ExitStack, where: str, deed: str, who: str, seed: int
) -> None:
    chance = random.Random(f"{deed} {who} {seed}")
    guest, admin = _guest(where, place, chance.choice(["raw", "qcow2"]), left), place.token("admin")
    there = {guest.summed}  # what may be on the data disk, whole
    guest.start()
    with service(place) as running:
        first = protect(running, guest)["id"]
        if deed == "restore":
            guest.stop()
            _scribble(guest, chance)
            there.add(guest.content().summed)
            guest.start()
        _throttle(running, _RATE, admin)
        begun = _begun(running, guest, deed, first)
        time.sleep(chance.uniform(0, _LATEST[deed]))
        _kill(running, guest, who)
        if who == "qemu":
            _throttle(running, None, admin)
            _is_good(running, guest, deed, begun, first, there)
    if who == "service":
        with service(place) as running:
            _throttle(running, None, admin)
            _is_good(running, guest, deed, begun, first, there)


def _is_good(running: Running, guest: Guest, deed: str, begun: str, first: str, there: set[int]) -> None:
    ended = _ended(running, deed, begun)
    assert ended["status"] in ("available", "success", "error", "fail"), ended
    if _runs(guest, running):
        wait(lambda: guest.left() == [])
    again = protect(running, guest)  # whether it runs now or not
    assert again["status"] == "available", again["extend_info"]["fail_reason"]
    if _runs(guest, running):
        assert guest.left() == []
        assert len(guest.marks()) <= 1
        guest.stop()
    for backup in {first, again["id"], *([begun] if ended["status"] == "available" else [])}:
        found = _brought_back(running, guest, backup)
        assert found.is_a_moment
        assert found.summed in there, "neither what was backed up nor what was there before the restore"
        assert backup != first or found.summed == guest.summed
    guest.start()
    wait(lambda: guest.left() == [])
