"""restead as people use it: a service that runs, asked through its API."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.disks import DISK
from benchmarks.measure import Command
from benchmarks.steps import Way

PROJECT = "benchmark"
_STEP = Path(__file__).with_name("service_step.py")


class RunningService:
    """A service on the data folder `data` in a folder, whose servers are added before it starts.

    Each server has one disk, a link that leads to whichever disk a step is about.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], servers: int) -> None:
        self._folder = folder
        self._data = data = ["--data", str(folder / "data")]
        (folder / "blank").write_bytes(bytes(4096))
        self.token = self.token_of(PROJECT)
        self.servers = [self._add(number) for number in range(servers)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "restead", "serve", "--listen", "127.0.0.1:0", *data],
            stdout=subprocess.PIPE, stderr=(folder / "log").open("wb"), text=True, env={**os.environ, **settings},
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError((folder / "log").read_text())
        self.url = line.split()[-1]

    @property
    def pid(self) -> int:
        return self._process.pid

    def token_of(self, project: str) -> str:
        """Make a token of a member of that project."""
        return self._restead("token", "create", "--project", project, *self._data)

    def lead_to(self, number: int, disk: Path) -> None:
        """Let that server's disk be another file."""
        link = self._folder / f"disk{number}"
        link.unlink(missing_ok=True)
        link.symlink_to(disk)

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)

    def _add(self, number: int) -> str:
        self.lead_to(number, self._folder / "blank")
        disk = f"path={self._folder / f'disk{number}'},boot"
        added = self._restead("server", "add", f"web-{number}", "--project", PROJECT, "--disk", disk, *self._data)
        self.lead_to(number, self._folder / f"none{number}")  # no two servers have one disk
        return added

    def _restead(self, *words: str) -> str:
        """Run a command of restead; return the last word it prints."""
        done = subprocess.run([sys.executable, "-m", "restead", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"restead {' '.join(words)}: {done.stderr}")
        return done.stdout.split()[-1]


class ServiceRepository:
    """The repository of a service with one server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = folder / "data" / "repository"
        self._service = RunningService(folder, {}, servers=1)

    def backup(self, day: Path) -> Command:
        self._service.lead_to(0, day / DISK)
        return self._command("backup")

    def restore(self, day: Path, target: Path) -> Command:
        with (target / DISK).open("xb") as file:
            file.truncate((day / DISK).stat().st_size)
        self._service.lead_to(0, target / DISK)
        return self._command("restore")

    def restore_over(self, day: Path, target: Path, way: Way, changed: Path) -> Command | None:  # noqa: ARG002
        """A driver may know what has changed on its disks; the one for images does not, so there is no hint."""
        if way.hint or way.stands == "foreign":
            return None
        self._service.lead_to(0, target / DISK)
        return self._command("restore" if way.safety else "bare")

    def read(self, target: Path) -> None:  # noqa: ARG002
        return None

    def verify(self) -> None:
        """The API has no such call."""

    def open(self) -> None:
        """It is open."""

    def close(self) -> None:
        self._service.close()

    def _command(self, step: str) -> Command:
        service = self._service
        client: list[str | Path] = [sys.executable, "-I", "-S", _STEP]
        asked = [service.url, service.token, PROJECT, service.servers[0], step]
        return Command([*client, *asked], self._folder, server=service.pid)
