"""Golden repositories open for ever: restead and tools/decode.py restore the same bytes from them, with every key."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.disks import MemoryDisk

from restead.domain.errors import InvalidRequest
from restead.domain.ids import ManifestId
from restead.drivers.blobs.local import LocalBlobs
from restead.repository import KeyFile, Passphrase, RecoveryKey, Repository, Secret, Window

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools/decode.py"
GOLDEN = sorted(path.parent for path in (ROOT / "tests/data").glob("format-1*/expected.json"))
KINDS = ("key", "passphrase", "recovery-key")


def _expected(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "expected.json").read_bytes())
    return found


def _digest(wanted: dict[str, Any]) -> str:
    """Of a disk; a null in the file is a disk of zeroes."""
    return wanted["sha256"] or hashlib.sha256(bytes(wanted["size"])).hexdigest()


def _secret(golden: Path, kind: str) -> Secret:
    if kind == "key":
        return KeyFile((golden / "key").read_bytes())
    expected = _expected(golden)
    return Passphrase(expected["passphrase"]) if kind == "passphrase" else RecoveryKey.parse(expected["recovery_key"])


def _file(golden: Path, kind: str, folder: Path) -> Path:
    if kind == "key":
        return golden / "key"
    path = folder / kind
    path.write_text(_expected(golden)[kind.replace("-", "_")] + "\n")
    return path


def _decode(store: Path, kind: str, file: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-I", str(TOOL), str(store), f"--{kind}-file", str(file), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def _restored(store: Path, secret: Secret, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    shutil.copytree(store, folder / "store")
    blobs = LocalBlobs(folder / "store")
    repository = Repository.open(blobs, secret, cache=folder / "cache", scratch=folder, window=Window(2, 2))
    found = {}
    for id, entry in repository.log.refresh().manifests.items():
        target = MemoryDisk(repository.manifest(id).size)
        with repository.session(entry.project, label="restore", reads=[id]) as session:
            session.verify(id)
            session.restore(id, target)
        found[str(id)] = bytes(target.data)
    repository.keyring.check()
    return found


def test_there_are_golden_repositories_and_they_are_small() -> None:
    assert {path.name for path in GOLDEN} >= {"format-1", "format-1-keys", "format-1-erased", "format-1-collected"}
    for golden in GOLDEN:
        assert sum(path.stat().st_size for path in golden.rglob("*") if path.is_file()) < 300_000, golden.name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_restead_restores_every_disk(golden: Path, kind: str, tmp_path: Path) -> None:
    wanted = _expected(golden)["manifests"]
    found = _restored(golden / "store", _secret(golden, kind), tmp_path / "it")
    assert {id: _digest(each) for id, each in wanted.items()} == {
        id: hashlib.sha256(data).hexdigest() for id, data in found.items()
    }


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_the_tool_restores_the_same_bytes_with_every_key(golden: Path, tmp_path: Path) -> None:
    wanted = _restored(golden / "store", _secret(golden, "key"), tmp_path / "it")
    for at, (id, data) in enumerate(wanted.items()):
        kind, output = KINDS[at % 3], tmp_path / id
        done = _decode(golden / "store", kind, _file(golden, kind, tmp_path), "restore", id, str(output))
        assert (done.returncode, done.stderr) == (0, "")
        assert output.read_bytes() == data
    zeroes = [id for id, data in wanted.items() if len(data) > 1_000_000 and not any(data)]
    assert all((tmp_path / id).stat().st_blocks == 0 for id in zeroes)
    for kind in KINDS:
        done = _decode(golden / "store", kind, _file(golden, kind, tmp_path), "list")
        assert done.returncode == 0
        shown = {line.split("\t")[0]: int(line.split("\t")[2]) for line in done.stdout.splitlines()}
        assert shown == {id: len(data) for id, data in wanted.items()}


def test_a_key_that_was_removed_opens_no_golden_repository(tmp_path: Path) -> None:
    golden = ROOT / "tests/data/format-1-keys"
    (tmp_path / "left").write_text("of somebody who left\n")
    done = _decode(golden / "store", "passphrase", tmp_path / "left", "list")
    assert (done.returncode, done.stderr) == (2, "decode.py: the passphrase does not open this repository\n")
    with pytest.raises(InvalidRequest, match="the passphrase does not open this repository"):
        _restored(golden / "store", Passphrase("of somebody who left"), tmp_path / "it")


def test_what_the_tool_refuses(tmp_path: Path) -> None:
    store, key = GOLDEN[0] / "store", GOLDEN[0] / "key"
    there = tmp_path / "there"
    there.write_bytes(b"mine")
    for words, says in (
        (("restore", "99.0", str(tmp_path / "x")), "there is no disk backup 99.0"),
        (("restore", "2.0", str(there)), "File exists"),
        (("mount",), "this is not understood"),
    ):
        done = _decode(store, "key", key, *words)
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert there.read_bytes() == b"mine"
    assert _decode(store, "recovery-key", there, "list").returncode == 2
    assert _decode(tmp_path, "key", key, "list").returncode == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("list",), 0),
        (("--help",), 2),
        (("restore", "2.0"), 2),  # where to is not said
        (("restore", "2.0", "no such folder/output"), 1),
        (("restore", "2.0", "/dev/full/output"), 1),
    ],
)
def test_the_tools_exit_codes(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    """2 for what was not begun, 1 for what failed, and a line that says why."""
    done = _decode(GOLDEN[0] / "store", "key", GOLDEN[0] / "key", *words)
    assert done.returncode == code
    assert ("decode.py: " in done.stderr, "Traceback" in done.stderr) == (code != 0, False)


def test_the_tool_fails_if_nobody_can_read_what_it_prints() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(TOOL), str(GOLDEN[0] / "store"), "--key-file", str(GOLDEN[0] / "key"), "list"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "decode.py: [Errno 28] No space left on device\n")


def test_what_nobody_foresaw_is_a_failure_of_the_tool(tmp_path: Path) -> None:
    """Not wrong usage: a name that is no number among those of the log, whatever has put it there."""
    store = tmp_path / "store"
    shutil.copytree(GOLDEN[0] / "store", store)
    (store / "log" / "not a number").write_text("stray")
    done = _decode(store, "key", GOLDEN[0] / "key", "list")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.startswith("decode.py: ValueError(")


def test_the_tool_is_short_and_knows_nothing_of_restead() -> None:
    text = TOOL.read_text()
    assert len(text.splitlines()) <= 300
    assert "import restead" not in text
    assert "from restead" not in text


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_damage_anywhere_ends_loudly_or_changes_no_byte(golden: Path, tmp_path: Path) -> None:
    """A flipped bit, a cut or a loss of each object: the tool restores the right bytes, or nothing and exit code 1."""
    chance = random.Random(3)
    id = ManifestId(next(iter(_expected(golden)["manifests"])))
    wanted = _digest(_expected(golden)["manifests"][id])
    store = tmp_path / "store"
    shutil.copytree(golden / "store", store)
    needed = 0
    files = sorted(path for path in store.rglob("*") if path.is_file() and "index" not in path.parts)
    for path in chance.sample(files, 8):
        data = path.read_bytes()
        spoiled = bytearray(data)
        spoiled[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        for bad in (bytes(spoiled), data[: chance.randrange(len(data))], None):
            path.chmod(0o600)
            path.unlink() if bad is None else path.write_bytes(bad)
            output = tmp_path / "output"
            done = _decode(store, "key", golden / "key", "restore", id, str(output))
            assert "Traceback" not in done.stderr, (path, done.stderr)
            if done.returncode == 0:
                assert hashlib.sha256(output.read_bytes()).hexdigest() == wanted, path
                output.unlink()
            else:
                needed += 1
                assert (done.returncode, output.exists()) == (1, False), (path, done.stderr)
                assert done.stderr.startswith("decode.py: ")
            path.write_bytes(data)
    assert needed >= 3
