"""Disks that are image files, looked at and written to behind a driver's back."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.lab.loops import LoopDevices

from restead.domain.ids import VolumeId
from restead.domain.server import Server

_CLUSTER, _SPARE = 64 << 10, 4 << 20  # bytes

needs_qemu_nbd = pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="qemu-nbd is not installed")
needs_loops = pytest.mark.skipif(not os.access("/dev/loop-control", os.W_OK), reason="block devices need rights")


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


def to_device(path: Path, loops: LoopDevices) -> Path:
    """Return a block device that holds the disk, with room for all of it and more if it is an image."""
    if path.suffix == ".qcow2":
        seen = json.loads(qemu_img("info", "-f", "qcow2", "--output=json", str(path)))["virtual-size"]
        os.truncate(path, max(-(-path.stat().st_size // _CLUSTER) * _CLUSTER, seen) + _SPARE)
    return loops.of(path)


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
