"""`restead backup export` as its user meets it: files that QEMU opens and boots, and nothing halfway."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.app.running import PROJECT, RESTEAD, Place, listen_to_ctrl_c, service
from tests.drivers.image_files import bytes_of, needs_qemu_nbd, qemu_img
from tests.lab import microguest

from restead.drivers.blobs import LocalBlobs
from restead.repository import KeyFile, Repository

_MIB = 1 << 20
_TRIES = 20  # a command may have ended before it is met


@needs_qemu_nbd
def test_a_server_is_exported_beside_a_service_and_boots(tmp_path: Path) -> None:
    """Both formats, with QEMU's own tools as judges; a name that is taken, one disk alone, and JSON for programs."""
    place = Place(tmp_path)
    system, data = tmp_path / "system.raw", tmp_path / "data.raw"
    microguest.make_system_disk(system, "exported")
    microguest.make_data_disk(data)
    words = ["--disk", f"path={system},boot", "--disk", f"path={data},name=data/1"]
    place.restead("server", "add", "web-1", "--project", PROJECT, *words)
    with service(place):
        backup = place.restead("protect", "web-1", "--name", "monday").split()[-1]
        for format in ("raw", "qcow2"):
            out = tmp_path / format
            told = place.restead("backup", "export", "monday", "--format", format, "-o", str(out))
            files = [out / f"system.{format}", out / f"data_1.{format}"]
            assert told.split() == [str(path) for path in files]
            assert sorted(out.iterdir()) == sorted(files)
            for path, disk in zip(files, (system, data), strict=True):
                assert bytes_of(path, format) == disk.read_bytes()
                assert path.stat().st_blocks * 512 < 4 * _MIB, "zeroes are holes"
                if format == "qcow2":
                    assert "No errors were found" in qemu_img("check", str(path))
                compared = qemu_img("compare", "-f", "raw", "-F", format, str(disk), str(path))
                assert compared == "Images are identical.\n"
            report = microguest.boot(*files, format=format)
            assert report is not None
            assert (report.marker, report.data) == ("exported", microguest.expected_data(data))
        again = place.run("backup", "export", "monday", "--format", "raw", "-o", str(tmp_path / "raw"))
        assert (again.returncode, "system.raw is there already: nothing is overwritten" in again.stderr) == (4, True)
        one = ["backup", "export", backup, "--format", "qcow2", "-o", str(tmp_path / "one"), "--disk", "data/1"]
        line = json.loads(place.restead(*one, "--verify", "readback", "--json").splitlines()[-1])
        assert (line["path"], line["size"], line["backup_id"]) == (str(tmp_path / "one"), data.stat().st_size, backup)
        assert bytes_of(tmp_path / "one", "qcow2") == data.read_bytes()
        for wrong, words in {
            ("monday", "--project", "p2"): "there is no backup monday",
            ("monday", "--disk", "nothing"): "the backup has no disk called nothing; its disks are system.raw",
            ("monday",): "the backup has 2 disks (system.raw, data/1), and ",
        }.items():
            refused = place.run("backup", "export", *wrong, "--format", "raw", "-o", str(tmp_path / "no.raw"))
            assert (refused.returncode, words in refused.stderr) == (4, True), refused.stderr
        assert not list(tmp_path.glob("no*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_one_that_is_cut_short_leaves_no_file(tmp_path: Path, number: signal.Signals) -> None:
    """After Ctrl-C there is nothing; after kill -9 FILE.part, and the next export ends the session that was left."""
    place = Place(tmp_path)
    disk = place.disk("a.raw", 96 * _MIB, seed=1)
    place.token()
    place.restead("import", "raw", str(disk), "--server", "old", "--project", PROJECT, "--name", "old")
    out = tmp_path / "out.raw"
    part = tmp_path / "out.raw.part"
    command = ["backup", "export", "old", "--format", "raw", "-o", str(out)]
    for _ in range(_TRIES):
        process = subprocess.Popen(
            [RESTEAD, *command], env=place.environment, stderr=subprocess.PIPE, text=True,
            preexec_fn=listen_to_ctrl_c,
        )  # fmt: skip
        while process.poll() is None and not (part.exists() and part.stat().st_blocks):
            time.sleep(0.001)
        process.send_signal(number)
        _, said = process.communicate(timeout=90)
        if process.returncode != 0:
            break
        out.unlink()
    left = _open_sessions(place)
    if number == signal.SIGINT:
        assert left == 0
        assert (process.returncode, "interrupted" in said) == (130, True)
        assert not list(tmp_path.glob("out*"))
    else:
        assert process.returncode == -number
        assert [path.name for path in tmp_path.glob("out*")] == ["out.raw.part"]
        assert "out.raw.part is there" in place.run(*command).stderr
        assert left == 1
        part.unlink()
    place.restead(*command)
    assert out.read_bytes() == disk.read_bytes()
    assert _open_sessions(place) == 0


def _open_sessions(place: Place) -> int:
    store, key = LocalBlobs(place.data / "repository"), KeyFile.read(place.data / "key")
    repository = Repository.open(store, key, cache=place.folder / "another-cache")
    return sum(session.open for session in repository.log.refresh().sessions.values())
