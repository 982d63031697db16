"""The NBD client against the servers that people run."""

import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from restead.drivers.nbd import NbdClient

MIB = 1 << 20
SIZE = 8 * MIB

COMMANDS = {
    "qemu-nbd": ["qemu-nbd", "--persistent", "--format=raw", "--discard=unmap", "--socket={socket}", "{file}"],
    "nbdkit": ["nbdkit", "--foreground", "--exit-with-parent", "--unix={socket}", "file", "{file}"],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    with path.open("wb") as disk:
        disk.truncate(SIZE)
        disk.seek(2 * MIB)
        disk.write(random.Random(1).randbytes(MIB))
    return path


@pytest.fixture(params=COMMANDS)
def connect(request: pytest.FixtureRequest, file: Path) -> Iterator[Path]:
    """The socket of a server of *file*."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp") as folder:
        path = Path(folder) / "nbd"
        words = [word.format(socket=path, file=file) for word in COMMANDS[request.param]]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 20
            while not path.exists():
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            yield path
        finally:
            process.terminate()
            process.wait(20)


def _client(path: Path) -> NbdClient:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return NbdClient(sock, "disk d1")


def test_a_history_of_writes_and_zeroes_is_what_the_file_holds(connect: Path, file: Path) -> None:
    client, chance, model = _client(connect), random.Random(2), bytearray(file.read_bytes())
    try:
        assert (client.size, client.read_only) == (SIZE, False)
        holes = [(extent.offset, extent.length) for extent in client.extents(0, SIZE) if not extent.data]
        assert holes == [(0, 2 * MIB), (3 * MIB, 5 * MIB)]
        for _ in range(40):
            offset = chance.randrange(SIZE)
            length = min(chance.choice([1, 512, 70_000, 3 * MIB]), SIZE - offset)
            if chance.random() < 0.5:
                data = chance.randbytes(length)
                client.write_at(offset, data, fua=chance.random() < 0.2)
                model[offset : offset + length] = data
            else:
                client.zero_at(offset, length, keep_space=chance.random() < 0.5)
                model[offset : offset + length] = bytes(length)
        client.flush()
        buffer = bytearray(SIZE)
        client.read_into(0, memoryview(buffer))
        assert buffer == model
        for extent in client.extents(0, SIZE):
            assert extent.data or not any(model[extent.offset : extent.end])
    finally:
        client.close()
    assert file.read_bytes() == model
