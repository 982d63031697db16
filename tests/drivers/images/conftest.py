"""Clouds of images for the tests beside this file."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.drivers.images.cloud import ImagesCloud

from restead.drivers.images import Power


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder with a short path, whatever pytest's own is: sockets need it."""
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk: where /tmp is in memory, files do not keep time."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() != "tmpfs":
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="restead-test-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def images(tmp_path: Path, runtime: Path) -> ImagesCloud:
    """Servers without power."""
    return ImagesCloud(tmp_path, runtime, Power.NONE)


@pytest.fixture
def commanded(tmp_path: Path, runtime: Path) -> ImagesCloud:
    """Servers whose power is a command."""
    return ImagesCloud(tmp_path, runtime, Power.COMMAND)


@pytest.fixture
def machines(tmp_path: Path, runtime: Path) -> Iterator[ImagesCloud]:
    """Servers that are QEMU processes; none is left at the end."""
    cloud = ImagesCloud(tmp_path, runtime, Power.QEMU)
    yield cloud
    cloud.close()
