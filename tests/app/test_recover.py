"""`restead recover` as its user meets it: another machine, the repository, one key."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.app.running import Place, service

_MIB = 1 << 20


def test_a_service_is_rebuilt_from_its_repository_and_a_key(tmp_path: Path) -> None:
    """Old tokens work, servers are there, holds hold, and every disk comes back under the id its backup had."""
    place = Place(tmp_path)
    disk = place.disk("system.raw", 6 * _MIB, seed=1)
    place.restead("server", "add", "web-1", "--project", "p1", "--disk", f"path={disk},name=system")
    with service(place):
        key = place.restead("key", "export").strip()
        backup = place.restead("protect", "web-1", "--name", "monday").split()[-1]
        wanted = disk.read_bytes()
        place.restead("backup", "hold", "monday", "--for", "90d")
        refused = place.run("backup", "delete", "monday", "--yes")
        assert (refused.returncode, "is held until" in refused.stderr) == (4, True)
        assert "HELD UNTIL (UTC)" in place.restead("backup", "list")
        assert "held until" in place.restead("backup", "show", "monday")
    noted = place.restead("repository", "digest").strip()
    shutil.move(place.data / "repository", tmp_path / "safe")
    shutil.move(place.data / "key", tmp_path / "old-key")
    shutil.rmtree(place.data)
    disk.write_bytes(os.urandom(6 * _MIB))

    at = ["recover", "--repository", str(tmp_path / "safe"), "--data", str(place.data)]
    assert place.run("recover", "--repository", str(tmp_path / "typo"), "--data", str(place.data)).returncode == 4
    assert not (tmp_path / "typo").exists()
    number, _, digest = noted.partition(":")
    older = place.run(*at, "--key-file", str(tmp_path / "old-key"), "--at-least", f"{int(number) + 1}:{digest}")
    assert (older.returncode, "it is older" in older.stderr) == (4, True), older.stderr
    assert not place.data.exists(), "nothing is made for what is refused"
    # With the recovery key this time, and as a module.
    done = subprocess.run(
        [sys.executable, "-m", "restead", *at, "--at-least", noted],
        env=place.environment, input=f"{key}\n", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert backup in done.stdout
    assert "1 token, servers web-1" in done.stderr
    assert place.run(*at).returncode == 4, "a folder in which a service may have lived is no new one"
    with service(place) as running:
        assert running.backup(backup)["name"] == "monday"
        assert running.backup(backup)["extend_info"]["held_until"] is not None
        assert place.run("backup", "delete", "monday", "--yes").returncode == 4
        place.restead("restore", "monday", "--yes")
        assert disk.read_bytes() == wanted
        warned = running.get("/status")["status"]["warnings"]
        assert not any("another service" in line or "in no list" in line for line in warned)


def test_records_refuse_an_older_repository_until_it_is_accepted(tmp_path: Path) -> None:
    """Also without the cache; then what it does not hold is in error, and can be relied on by nobody."""
    place = Place(tmp_path)
    disk = place.disk("system.raw", 2 * _MIB, seed=1)
    place.restead("server", "add", "web-1", "--project", "p1", "--disk", f"path={disk}")
    with service(place):
        place.restead("protect", "web-1", "--name", "first")
    shutil.copytree(place.data / "repository", tmp_path / "old")
    with service(place):
        place.restead("protect", "web-1", "--name", "second")
    shutil.rmtree(place.data / "repository")
    shutil.copytree(tmp_path / "old", place.data / "repository")
    shutil.rmtree(place.data / "cache")
    for words in (("serve", "--listen", "127.0.0.1:0"), ("repository", "adopt")):
        refused = place.run(*words)
        assert (refused.returncode, "it was there before" in refused.stderr) == (1, True), refused.stderr
    assert "second" in place.restead("repository", "adopt", "--accept-older")
    with service(place):
        assert "error" in place.restead("backup", "show", "second")
        place.restead("restore", "first", "--yes")


@pytest.mark.parametrize("name", ["records.sqlite", "key", "servers"])
def test_a_folder_with_something_in_it_is_no_new_one(tmp_path: Path, name: str) -> None:
    place = Place(tmp_path)
    place.restead("token", "create", "--project", "p1")
    place.restead("key", "export")  # makes the repository
    shutil.move(place.data / "repository", tmp_path / "safe")
    shutil.move(place.data / "key", tmp_path / "old-key")
    new = tmp_path / "new"
    new.mkdir(mode=0o700)
    (new / name).touch()
    refused = place.run("recover", "--repository", str(tmp_path / "safe"), "--data", str(new),
                        "--key-file", str(tmp_path / "old-key"))  # fmt: skip
    assert (refused.returncode, f"has {name} in it" in refused.stderr) == (4, True), refused.stderr
    assert [path.name for path in new.iterdir()] == [name]
