"""The service with its repository in OpenStack Swift, by its S3 door: from a backup to a machine that takes over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.app.running import PROJECT, Place, service
from tests.lab.bucket import Bucket
from tests.lab.swift import swift

_MIB = 1 << 20
_SERVER = "f45c477a-57e5-465f-999f-d845083962db"


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    with swift(tmp_path / "swift") as bucket:
        yield bucket


def _place_on(bucket: Bucket, folder: Path) -> Place:
    folder.mkdir()
    place = Place(folder)
    place.environment.update(bucket.environment, RESTEAD_STORE=f"s3://{bucket.name}/home")
    place.environment["RESTEAD_S3_ENDPOINT"] = bucket.endpoint
    return place


def _add_server(place: Place, disks: dict[str, Path]) -> None:
    words = [word for name, path in disks.items() for word in ("--disk", f"path={path},name={name}")]
    place.restead("server", "add", "web-1", "--project", PROJECT, "--id", _SERVER, *words)


def test_a_server_is_protected_brought_back_and_moved(bucket: Bucket, tmp_path: Path) -> None:
    """The second machine is refused until it takes over; then it has the backup, and the first one writes no more."""
    first = _place_on(bucket, tmp_path / "first")
    disks = {name: first.disk(f"{name}.raw", 9 * _MIB, seed=seed) for seed, name in enumerate(("system", "data"))}
    before = {name: path.read_bytes() for name, path in disks.items()}
    _add_server(first, disks)
    with service(first) as running:
        backup = running.wait_for_backup(running.begin_backup(_SERVER))
        assert backup["status"] == "available"
        _destroy(disks)
        assert running.wait_for_restore(running.begin_restore(backup["id"]))["status"] == "success"
        assert "lets two puts of one name win" in first.run("status").stderr
    assert {name: path.read_bytes() for name, path in disks.items()} == before
    _assert_nothing_left_in(first, bucket)

    second = _place_on(bucket, tmp_path / "second")
    second.data.mkdir(mode=0o700)
    (second.data / "key").touch(mode=0o600)
    (second.data / "key").write_bytes((first.data / "key").read_bytes())
    refused = second.run("serve", "--listen", "127.0.0.1:0")
    assert refused.returncode == 3
    assert f"one data folder alone writes to it: data folder {first.data} on host" in refused.stderr
    asked = second.run("repository", "claim")
    assert asked.returncode == 2
    assert f"the only writer is data folder {first.data}" in asked.stderr
    assert f"data folder {second.data} on host" in second.restead("repository", "claim", "--yes")
    assert f"data folder {second.data} on host" in first.run("key", "export").stderr

    adopted = second.run("repository", "adopt")
    assert adopted.returncode == 0
    assert backup["id"] in adopted.stdout
    assert "1 token, servers web-1" in adopted.stderr
    _destroy(disks)
    with service(second) as running:
        assert running.wait_for_restore(running.begin_restore(backup["id"]))["status"] == "success"
    assert {name: path.read_bytes() for name, path in disks.items()} == before


def _destroy(disks: dict[str, Path]) -> None:
    for path in disks.values():
        with path.open("r+b") as disk:
            disk.write(b"destroyed" * 100_000)


def _assert_nothing_left_in(place: Place, bucket: Bucket) -> None:
    """Not a byte of the repository is in the data folder, and the key to the bucket is in nothing that was written."""
    assert not (place.data / "repository").exists()
    assert list((place.data / "scratch").iterdir()) == []
    written = [path for path in place.data.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in [*written, place.log] if bucket.secret.encode() in path.read_bytes()] == []
    assert any("lets two puts of one name win" in line["event"] for line in place.log_lines())
