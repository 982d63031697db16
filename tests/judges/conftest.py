"""The real service, with a server of raw disks, and the client programs that judge it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.app.running import PROJECT, Place, Running, service

ROOT = Path(__file__).parent.parent.parent
SIZE = 12 << 20  # bytes of each disk

# The server of the published example, and its disk.
WEB_SERVER = "f45c477a-57e5-465f-999f-d845083962db"
WEB_DISK = "ee27f809-6fb5-40ae-ac46-c932bb4ee8fe"
WEB_SIZE = (5 << 20) + 512  # bytes
_SWITCH = """#!/bin/sh
# Power of a machine that is nothing but a file.
state={state}
case "$1" in
  start) echo running >"$state" ;;
  stop) echo stopped >"$state" ;;
  status) cat "$state" ;;
esac
"""


@dataclass
class Protected:
    """A server with two disks that was backed up once by the real service."""

    running: Running
    server_id: str
    disks: dict[str, Path]  # by id of the disk
    backup: dict[str, Any]  # as the API shows it
    saved: dict[str, bytes] = field(default_factory=dict)  # what the disks held then

    def parameters(self, *, power_on: bool = False) -> dict[str, Any]:
        """The published parameters of a restore to where the backup came from."""
        disks = self.backup["extend_info"]["volume_backups"]
        volumes = [{"backup_id": disk["id"], "volume_id": disk["source_volume_id"]} for disk in disks]
        targets = {"server_id": self.server_id, "volumes": volumes}
        return {"checkpoint_item_id": self.backup["id"], "power_on": power_on, "targets": targets}

    def damage(self) -> None:
        """Overwrite the disks' beginnings."""
        for path in self.disks.values():
            with path.open("r+b") as disk:
                disk.write(b"damage" * 1000)

    def contents(self) -> dict[str, bytes]:
        return {id: path.read_bytes() for id, path in self.disks.items()}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service, as a process of its own."""
    with service(Place(tmp_path_factory.mktemp("judged"))) as found:
        yield found


@pytest.fixture(scope="module")
def protected(running: Running) -> Protected:
    return protect(running)


def protect(running: Running) -> Protected:
    """Back up a new server of two disks."""
    place = running.place
    disks = {"sys-disk": place.disk("system.raw", SIZE, seed=1), "data-disk": place.disk("data.raw", SIZE, seed=2)}
    flags = [word for id, path in disks.items() for word in ("--disk", f"path={path},id={id}")]
    server_id = place.restead("server", "add", "web-1", "--project", place.project, *flags).split()[-1]
    backup = running.wait_for_backup(running.begin_backup(server_id))
    assert backup["status"] == "available", backup
    found = Protected(running, server_id, disks, backup)
    found.saved = found.contents()
    return found


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Running]:
    """The service, and the server of the published example, whose power is an operator's command."""
    place = Place(tmp_path)
    (tmp_path / "state").write_text("stopped\n")
    switch = tmp_path / "switch"
    switch.write_text(_SWITCH.format(state=tmp_path / "state"))
    switch.chmod(0o700)
    disk = place.disk("web.raw", WEB_SIZE, seed=3)
    place.restead(
        "server", "add", "web", "--project", PROJECT, "--id", WEB_SERVER, "--disk", f"path={disk},id={WEB_DISK}",
        "--power", "command", "--power-command", str(switch),
    )  # fmt: skip
    with service(place) as found:
        yield found


def back_up(web: Running) -> dict[str, Any]:
    """Return a backup of the published example's server."""
    backup = web.wait_for_backup(web.begin_backup(WEB_SERVER))
    assert backup["status"] == "available", backup
    return dict(backup)


class Judge:
    """A published client program in a folder of its own, to which nothing is known but *environment*."""

    def __init__(self, venv: str, running: Running, environment: Mapping[str, str]) -> None:
        # Nothing of the caller's own cloud may steer the client.
        self._environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self._environment |= {"HOME": str(running.place.folder), **environment}
        self.bin = ROOT / venv / "bin"

    def python(self, program: str, *words: str) -> Any:
        """Run a Python program with the client's own interpreter; return the JSON it prints."""
        done = self.finished([self.bin / "python", "-W", "ignore", "-c", program, *words])
        assert done.returncode == 0, f"{done.stdout} {done.stderr}"
        return json.loads(done.stdout)

    def finished(self, command: "list[Path | str]") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            list(map(str, command)), env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )


class Karbor(Judge):
    """The published command line client, python-karborclient, against that service."""

    def __init__(self, running: Running) -> None:
        super().__init__(".venv-judges", running, {})
        self.url = f"{running.url}/v1/{PROJECT}"
        self.token = running.place.environment["RESTEAD_TOKEN"]

    def run(self, *words: str, token: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command as it is, whatever comes of it."""
        flags = ["--os-no-client-auth", "--karbor-url", self.url, "--os-auth-token", token or self.token]
        return self.finished([self.bin / "karbor", *flags, *words])

    def table(self, *words: str) -> list[dict[str, str]]:
        """Run a command that must succeed; return the rows of the table it prints, by its headings."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return rows(done.stdout)

    def shown(self, *words: str) -> dict[str, str]:
        """Run a command that prints one object; return its members as they are printed."""
        return {row["Property"]: row["Value"] for row in self.table(*words)}


def rows(printed: str) -> list[dict[str, str]]:
    """Read a table as the client prints it; a cell of several lines goes on in the lines below it."""
    lines = [line[1:-1].split("|") for line in printed.splitlines() if line.startswith("|")]
    heads = [cell.strip() for cell in lines[0]]
    found: list[list[str]] = []
    for line in lines[1:]:
        cells = [cell.strip() for cell in line]
        if cells[0]:
            found.append(cells)
        else:
            found[-1] = [f"{old}\n{new}".strip() for old, new in zip(found[-1], cells, strict=True)]
    return [dict(zip(heads, cells, strict=True)) for cells in found]


@pytest.fixture(scope="session")
def judges() -> None:
    """The clients are installed."""
    subprocess.run([ROOT / "scripts" / "judges"], env={**os.environ, "PYTHON": sys.executable}, check=True)


@pytest.fixture(scope="module")
def karbor(judges: None, running: Running) -> Karbor:
    return Karbor(running)
