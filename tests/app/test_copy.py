"""`restead repository copy` as its user meets it: a second repository, and then the first is gone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.app.running import Place, service

_MIB = 1 << 20
_DECODE = Path(__file__).parents[2] / "tools" / "decode.py"


def test_a_copy_restores_without_the_first(tmp_path: Path) -> None:
    """Made while the service runs, with a key of its own; all that is left of the first is nothing."""
    place, safe, key = Place(tmp_path), tmp_path / "safe", tmp_path / "second-key"
    disk = place.disk("system.raw", 6 * _MIB, seed=1)
    server = ["server", "add", "web-1", "--project", "p1", "--disk", f"path={disk},name=system"]
    place.restead(*server)
    copy = ["repository", "copy", "--to", str(safe), "--to-key-file", str(key)]
    with service(place):
        monday = place.restead("protect", "web-1", "--name", "monday").split()[-1]
        wanted = disk.read_bytes()
        assert f"{monday} monday of project p1, 1 disk" in place.restead(*copy)
        with disk.open("r+b") as file:
            file.write(os.urandom(_MIB))
        tuesday = place.restead("protect", "web-1", "--name", "tuesday").split()[-1]
        assert place.run(*copy, "sunday").returncode == 4
        assert place.restead(*copy, "monday") == ""
        lines = [json.loads(line) for line in place.restead(*copy, "--json").splitlines()]
        ended = [(each["backup_id"], each["state"]) for each in lines if "state" in each]
        assert ended == [(monday, "there"), (tuesday, "copied")]
        assert next(each["read"] for each in lines if each.get("state") == "copied") == _MIB
    refused = place.run("repository", "copy", "--to", str(safe), "--to-key-file", str(tmp_path / "typo"))
    assert (refused.returncode, (tmp_path / "typo").exists()) == (4, False)
    other = place.run("repository", "copy", "--to", str(safe))
    assert other.returncode == 4
    assert f"restead: {safe}, which is copied to: the key file does not open" in other.stderr
    (tmp_path / "phrase").write_text("of another repository\n")
    (tmp_path / "phrase").chmod(0o600)
    place.environment["RESTEAD_PASSPHRASE_FILE"] = str(tmp_path / "phrase")
    other = place.run(*copy)
    assert f"restead: {place.data / 'repository'}, which is copied: " in other.stderr
    del place.environment["RESTEAD_PASSPHRASE_FILE"]
    assert place.run("repository", "copy", "--to", str(place.data / "repository")).returncode == 4
    packs = [path for path in (place.data / "repository" / "packs").rglob("*") if path.is_file()]
    assert packs
    for pack in packs:
        sealed = bytearray(pack.read_bytes())
        sealed[len(sealed) // 3] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(sealed)
    damaged = place.run("repository", "copy", "--to", str(tmp_path / "third"))
    assert (damaged.returncode, "is damaged and not copied: disk" in damaged.stdout) == (1, True), damaged.stderr

    shutil.rmtree(place.data)
    listed = subprocess.run(
        [sys.executable, str(_DECODE), str(safe), "--key-file", str(key), "list"], capture_output=True, text=True
    )
    assert (listed.returncode, len(listed.stdout.splitlines()) >= 2) == (0, True), listed.stderr
    first = next(word for word in listed.stdout.split() if word[0].isdigit() and word.endswith(".0"))
    subprocess.run(
        [sys.executable, str(_DECODE), str(safe), "--key-file", str(key), "restore", first, str(tmp_path / "out")],
        check=True, capture_output=True,
    )  # fmt: skip
    assert (tmp_path / "out").read_bytes() == wanted
    disk.write_bytes(os.urandom(6 * _MIB))
    told = place.restead("recover", "--repository", str(safe), "--data", str(place.data), "--key-file", str(key))
    assert f"{monday} monday" in told
    assert f"{tuesday} tuesday" in told
    assert "web-1" in place.restead("repository", "list")
    server_id = json.loads(place.restead("repository", "list", "--json").splitlines()[0])["server"]["id"]
    place.restead(*server, "--id", server_id)
    place.environment.pop("RESTEAD_TOKEN")
    with service(place) as running:
        assert running.backup(monday)["name"] == "monday"
        place.restead("restore", "monday", "--map", "system=system", "--yes")
        assert disk.read_bytes() == wanted
