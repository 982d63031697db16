"""A data folder that has lost its records, and its key: what the commands and the service make of the repository."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.app.running import Place, service

_MIB = 1 << 20
_SERVERS = {
    "web-1": ("0d9a7c52-5a55-4f11-8a0c-1f0c3ab5a001", ("system.raw", "data.raw")),
    "db-1": ("0d9a7c52-5a55-4f11-8a0c-1f0c3ab5a002", ("db.raw",)),
}
_IDS = {
    name: f"7f3c1d9e-0000-4000-8000-00000000000{at}" for at, name in enumerate(("system.raw", "data.raw", "db.raw"))
}


def _add_servers(place: Place) -> None:
    for name, (id, disks) in _SERVERS.items():
        paths = [f"path={place.folder / disk},id={_IDS[disk]}" for disk in disks]
        words = [word for path in paths for word in ("--disk", path)]
        place.restead("server", "add", name, "--project", "p1", "--id", id, *words)


def _disks(place: Place, server: str) -> list[bytes]:
    return [(place.folder / disk).read_bytes() for disk in _SERVERS[server][1]]


def _write_over(place: Place, server: str, at: int = 0) -> None:
    for disk in _SERVERS[server][1]:
        with (place.folder / disk).open("r+b") as file:
            file.seek(at)
            file.write(os.urandom(_MIB))


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_with_the_repository_and_the_recovery_key_every_disk_comes_back(tmp_path: Path) -> None:
    """As docs/operate.md says: nothing of the data folder is left but repository/, on another machine."""
    place = Place(tmp_path)
    for at, disk in enumerate(_IDS):
        place.disk(disk, 6 * _MIB, seed=at)
    _add_servers(place)
    wanted: dict[str, tuple[str, list[bytes]]] = {}
    with service(place):
        key = place.restead("key", "export").strip()
        for server in ("web-1", "db-1", "web-1"):
            _write_over(place, server, 2 * _MIB)
            backup = place.restead("protect", server).split()[-1]
            wanted[backup] = server, _disks(place, server)
        refused = place.run("repository", "adopt")
        assert refused.returncode == 3
        assert "a service works on the data folder, end it first" in refused.stderr
        listed = _lines(place.restead("repository", "list", "--json"))
        assert [line["backup_id"] for line in listed] == [
            backup for backup, (server, _) in wanted.items() for _ in _SERVERS[server][1]
        ]
    shutil.move(place.data / "repository", tmp_path / "kept")
    shutil.rmtree(place.data)
    place.data.mkdir(mode=0o700)
    shutil.move(tmp_path / "kept", place.data / "repository")
    del place.environment["RESTEAD_TOKEN"]

    assert place.run("repository", "list").returncode == 4, "nobody can read it without a key"
    place.restead("key", "recover", stdin=f"{key}\n")
    listed = _lines(place.restead("repository", "list", "--unlisted", "--json"))
    assert [(line["project"], line["role"], line["size"], line["server"]["id"]) for line in listed] == [
        ("p1", role, 6 * _MIB, _SERVERS[server][0])
        for server, _ in wanted.values()
        for role in ("system", "data")[: len(_SERVERS[server][1])]
    ]
    with service(place) as running:
        warned = running.get("/status")["status"]["warnings"]
        assert "5 disk backups in the repository are in no list: restead repository adopt" in warned
        assert any("in no list" in line["event"] for line in place.log_lines())
    adopted = _lines(place.restead("repository", "adopt", "--json"))
    assert {line["backup_id"] for line in adopted} == set(wanted)
    assert place.restead("repository", "adopt", "--json") == ""
    servers = _lines(place.restead("server", "list", "--json"))
    assert {server["id"] for server in servers} == {id for id, _ in _SERVERS.values()}, "they were kept in it, too"
    with service(place) as running:
        assert not any("in no list" in line for line in running.get("/status")["status"]["warnings"])
        for backup, (server, bytes_then) in wanted.items():
            _write_over(place, server)
            place.restead("restore", backup, "--yes")
            assert _disks(place, server) == bytes_then


def test_a_folder_without_a_repository_gets_none(tmp_path: Path) -> None:
    """Looking makes nothing: a repository made by mistake would have a key of its own."""
    place = Place(tmp_path)
    place.token()
    for verb in ("list", "adopt"):
        done = place.run("repository", verb)
        assert done.returncode == 4
        assert "there is no repository" in done.stderr
    assert not any((place.data / "repository").glob("*/*"))
