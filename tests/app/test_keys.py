"""The keys of a data folder, from the command line: added, changed, removed, rotated, and a project erased."""

import json
import os
from pathlib import Path
from typing import Any

from tests.app.running import Place, service

_MIB = 1 << 20


def _place(folder: Path, passphrase: str = "") -> Place:
    place = Place(folder)
    place.disk("system.raw", 4 * _MIB, seed=1)
    if passphrase:
        place.environment["RESTEAD_PASSPHRASE_FILE"] = str(_phrase(place, "phrase", passphrase))
    with service(place):  # makes the repository
        pass
    return place


def _phrase(place: Place, name: str, text: str) -> Path:
    path = place.folder / name
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return path


def _listed(place: Place) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place.restead("key", "list", "--json").splitlines()]


def _refused(place: Place, *words: str, code: int = 4) -> str:
    done = place.run(*words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_key_file_is_changed_and_copies_of_the_old_one_open_nothing(tmp_path: Path) -> None:
    place = _place(tmp_path)
    old = (place.data / "key").read_bytes()
    (before,) = _listed(place)
    assert (before["kind"], before["used_here"]) == ("key file", True)
    place.restead("key", "change")
    (after,) = _listed(place)
    assert (after["kind"], after["used_here"]) == ("key file", True)
    assert after["id"] != before["id"]
    assert (place.data / "key").read_bytes() != old
    assert (place.data / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in place.data.glob("key*")] == ["key"]
    assert [path.name for path in (place.data / "repository/keyring").iterdir()] == ["3"]
    (place.data / "key").write_bytes(old)
    assert "the key file does not open this repository" in _refused(place, "key", "list")


def test_the_last_key_and_the_folders_own_are_not_removed(tmp_path: Path) -> None:
    place = _place(tmp_path)
    (only,) = _listed(place)
    assert "this is the last key of the repository" in _refused(place, "key", "remove", only["id"], "--yes")
    spare = place.restead("key", "add", "--key-file", str(tmp_path / "spare"), "--label", "in the safe").strip()
    assert "put another one in its place" in _refused(place, "key", "remove", only["id"], "--yes")
    assert [key["label"] for key in _listed(place)][1:] == ["in the safe"]
    assert _refused(place, "key", "remove", spare, code=2).count("say --yes")
    assert "there is no key ffffffffffff" in _refused(place, "key", "remove", "ffffffffffff", "--yes")
    place.restead("key", "remove", spare[:8], "--yes")
    assert _listed(place) == [only]
    (place.data / "key").write_bytes((tmp_path / "spare").read_bytes())
    assert "the key file does not open this repository" in _refused(place, "key", "list")


def test_a_passphrase_is_changed_in_its_file(tmp_path: Path) -> None:
    place = _place(tmp_path, "first words")
    new = _phrase(place, "new", "other words")
    place.restead("key", "change", "--passphrase-file", str(new))
    assert (tmp_path / "phrase").read_text() == "other words\n"
    assert (tmp_path / "phrase").stat().st_mode & 0o777 == 0o600
    (key,) = _listed(place)
    assert (key["kind"], key["used_here"]) == ("passphrase", True)
    _phrase(place, "phrase", "first words")
    said = _refused(place, "key", "list")
    assert said.strip().endswith("the passphrase does not open this repository")
    assert len(said.strip().splitlines()) == 1
    _phrase(place, "phrase", "other words")
    with service(place):
        pass


def test_a_folder_goes_from_its_key_file_to_a_passphrase(tmp_path: Path) -> None:
    place = _place(tmp_path)
    phrase = _phrase(place, "phrase", "some words")
    assert "say restead key add" in _refused(place, "key", "change", "--passphrase-file", str(phrase))
    (file,) = _listed(place)
    place.restead("key", "add", "--passphrase-file", str(phrase))
    place.environment["RESTEAD_PASSPHRASE_FILE"] = str(phrase)
    place.restead("key", "remove", file["id"], "--yes")
    (place.data / "key").unlink()
    with service(place):
        assert [key["kind"] for key in _listed(place)] == ["passphrase"]


def test_what_cannot_be_asked_for_is_usage(tmp_path: Path) -> None:
    place = _place(tmp_path)
    for words in (("key", "add"), ("key", "erase"), ("key", "erase", "p1", "--finish")):
        _refused(place, *words, code=2)


def test_a_removed_recovery_key_is_missed(tmp_path: Path) -> None:
    place = _place(tmp_path)
    key = place.restead("key", "export").strip()
    place.restead("key", "confirm", stdin=f"{key}\n")
    confirmed = next(each for each in _listed(place) if each["confirmed_at"])
    place.restead("key", "remove", confirmed["id"], "--yes")
    with service(place) as running:
        assert any("recovery key" in line for line in running.get("/status")["status"]["warnings"])


def _pack_keys(place: Place) -> set[int]:
    packs = [path for path in (place.data / "repository/packs").rglob("*") if path.is_file()]
    return {int.from_bytes(path.read_bytes()[12:16], "big") for path in packs}


def test_a_running_service_seals_with_the_new_key_after_a_rotation(tmp_path: Path) -> None:
    place = _place(tmp_path)
    with service(place):
        place.restead("server", "add", "web-1", "--project", "p1", "--disk", f"path={place.folder / 'system.raw'}")
        first = place.restead("protect", "web-1").split()[-1]
        assert _pack_keys(place) == {1}
        place.restead("key", "rotate")
        disk = place.folder / "system.raw"
        before = disk.read_bytes()
        disk.write_bytes(os.urandom(4 * _MIB))
        place.restead("protect", "web-1")
        assert _pack_keys(place) == {1, 2}
        place.restead("restore", first, "--yes")
        assert disk.read_bytes() == before


def test_an_erased_project_is_in_error_and_says_why(tmp_path: Path) -> None:
    place = _place(tmp_path)
    with service(place):
        place.restead("server", "add", "web-1", "--project", "p1", "--disk", f"path={place.folder / 'system.raw'}")
        backup = place.restead("protect", "web-1").split()[-1]
        assert "a service works on the data folder" in _refused(place, "key", "erase", "p1", "--yes", code=3)
    assert "say --yes" in _refused(place, "key", "erase", "p1", code=2)
    assert "holds no project p2" in _refused(place, "key", "erase", "p2", "--yes")
    done = place.run("key", "erase", "p1", "--yes")
    assert done.returncode == 0, done.stderr
    assert "project p1: 1 disk backup of web-1, 4 MiB of disks" in done.stderr
    assert "project p1 is erased: 1 backup in error" in done.stderr
    assert not [path for path in (place.data / "repository/packs").rglob("*") if path.is_file()]
    with service(place) as running:
        row = running.backup(backup)
        assert row["status"] == "error"
        assert "project p1 was erased on" in json.dumps(row)
        assert not any("adopt" in line for line in running.get("/status")["status"]["warnings"])
        again = place.restead("protect", "web-1").split()[-1]
        place.restead("restore", again, "--yes")
        place.restead("backup", "delete", backup, "--yes")
