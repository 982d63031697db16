"""restead as people use it: a service that runs, asked through its API."""

import subprocess
import sys
from pathlib import Path

from benchmarks.disks import DISK
from benchmarks.measure import Command

_PROJECT = "benchmark"
_STEP = Path(__file__).with_name("service_step.py")


class ServiceRepository:
    """A service on a data folder, with one server; its disk is a link that leads to whichever disk a step is about."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk = folder / "disk"
        self.place = folder / "data" / "repository"
        data = ["--data", str(folder / "data")]
        (folder / "blank").write_bytes(bytes(4096))
        self._lead_to(folder / "blank")
        self._token = self._restead("token", "create", "--project", _PROJECT, *data)
        disk = f"path={self._disk},boot"
        self._server = self._restead("server", "add", "web-1", "--project", _PROJECT, "--disk", disk, *data)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "restead", "serve", "--listen", "127.0.0.1:0", *data],
            stdout=subprocess.PIPE, stderr=(folder / "log").open("wb"), text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError((folder / "log").read_text())
        self._url = line.split()[-1]

    def backup(self, day: Path) -> Command:
        self._lead_to(day / DISK)
        return self._command("backup")

    def restore(self, day: Path, target: Path) -> Command:
        with (target / DISK).open("xb") as file:
            file.truncate((day / DISK).stat().st_size)
        self._lead_to(target / DISK)
        return self._command("restore")

    def verify(self) -> None:
        """The API has no such call."""

    def open(self) -> None:
        """It is open."""

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)

    def _command(self, step: str) -> Command:
        client: list[str | Path] = [sys.executable, "-I", "-S", _STEP]
        asked = [self._url, self._token, _PROJECT, self._server, step]
        return Command([*client, *asked], self._folder, server=self._process.pid)

    def _lead_to(self, disk: Path) -> None:
        self._disk.unlink(missing_ok=True)
        self._disk.symlink_to(disk)

    def _restead(self, *words: str) -> str:
        """Run a command of restead; return the last word it prints."""
        done = subprocess.run([sys.executable, "-m", "restead", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"restead {' '.join(words)}: {done.stderr}")
        return done.stdout.split()[-1]
