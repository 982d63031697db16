"""Disks that are image files, looked at and written to behind a driver's back."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from restead.domain.ids import VolumeId
from restead.domain.server import Server

needs_qemu_nbd = pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="qemu-nbd is not installed")


class ImageFiles:
    """The half of a cloud under test that knows where its disks are: each volume's location is its file."""

    format: str  # raw or qcow2

    def bytes_of(self, server: Server, volume_id: VolumeId) -> bytes:
        return bytes_of(self._path(server, volume_id), self.format)

    def overwrite(self, server: Server, volume_id: VolumeId, offset: int, data: bytes) -> None:
        with self._path(server, volume_id).open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def allocated(self, server: Server, volume_id: VolumeId) -> int:
        return self._path(server, volume_id).stat().st_blocks * 512

    def _path(self, server: Server, volume_id: VolumeId) -> Path:
        volume = server.volume(volume_id)
        assert volume is not None
        return Path(volume.location)


def to_qcow2(raw: Path, options: str = "compat=1.1") -> Path:
    """Make a qcow2 image of a raw one, which is gone then."""
    path = raw.with_suffix(".qcow2")
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-o", options, str(raw), str(path))
    raw.unlink()
    return path


def bytes_of(path: Path, format: str) -> bytes:
    """Return what a machine would see on that disk, found out without the driver."""
    if format == "raw":
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "seen"
        qemu_img("convert", "-U", "-f", format, "-O", "raw", str(path), str(raw))
        return raw.read_bytes()


def qemu_img(*words: str) -> str:
    return subprocess.run(["qemu-img", *words], check=True, stdout=subprocess.PIPE, text=True).stdout
