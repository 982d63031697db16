"""Cinder's chunked backup driver as one of the tools: it compresses, does not encrypt, and reads nothing back.

Incremental backups are its own: a SHA-256 of each 32 KiB is kept, and a restore writes the full backup and every
increment after it.
"""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.disks import DISK
from benchmarks.measure import Command
from benchmarks.steps import Way
from benchmarks.tools import Still

_ROOT = Path(__file__).parent.parent
_PYTHON = _ROOT / ".venv-cinder" / "bin" / "python"
_STEP = Path(__file__).with_name("cinder_step.py")


class CinderRepository(Still):
    """*bucket*: what the S3 driver needs in the environment; without it it is the driver for folders."""

    place: Path | None

    def __init__(self, folder: Path, bucket: Mapping[str, str] | None = None) -> None:
        self.place = None if bucket else folder / "repository"
        self._folder = folder
        self._environment = {"PYTHONWARNINGS": "ignore", **(bucket or {})}

    def _command(self, *arguments: str | Path, flush: Path | None = None) -> Command:
        return Command([_PYTHON, _STEP, self._folder, *arguments], self._folder, self._environment, flush)

    def backup(self, day: Path) -> Command:
        return self._command("backup", day / DISK)

    def restore(self, day: Path, target: Path) -> Command:  # noqa: ARG002
        return self._command("restore", target / DISK, flush=target / DISK)

    def restore_over(self, day: Path, target: Path, way: Way, changed: Path) -> Command | None:  # noqa: ARG002
        return None

    def verify(self) -> None:
        """It has no such command."""

    def open(self) -> Command:
        return self._command("open")


def cinder_version() -> str:
    """Return its version, "" if it is not installed."""
    found = list((_ROOT / ".venv-cinder").glob("lib/python*/site-packages/cinder-*.dist-info"))
    return found[0].name.removeprefix("cinder-").removesuffix(".dist-info") if found else ""
