"""`restead import` as people run it: real processes on a data folder."""

import json
from pathlib import Path

from tests.app.running import PROJECT, Place, service
from tests.drivers.image_files import needs_qemu_nbd, qemu_img

_MIB = 1 << 20


def test_images_are_imported_beside_a_service_and_restored_onto_a_server(tmp_path: Path) -> None:
    """Two images of a server that is not known, over the command line alone; and after the data folder is lost."""
    place = Place(tmp_path)
    images = [place.disk("old-a.raw", 6 * _MIB, seed=1), place.disk("old-b.raw", 3 * _MIB, seed=2)]
    targets = [place.disk("a.raw", 6 * _MIB, seed=3), place.disk("b.raw", 3 * _MIB, seed=4)]
    disks = [word for path in targets for word in ("--disk", f"path={path}")]
    place.restead("server", "add", "web-1", "--project", PROJECT, *disks)
    wanted = [path.read_bytes() for path in images]
    with service(place):
        key = place.restead("key", "export")
        done = place.run("import", "raw", *map(str, images), "--server", "old-1", "--project", PROJECT, "--name", "old")
        assert done.returncode == 0, done.stderr
        assert "has no server old-1: the backup will tell of one, restore it with --to SERVER" in done.stderr
        backup = done.stdout.split()[-1]
        assert backup in place.restead("backup", "list")
        maps = "--map", "old-a.raw=a.raw", "--map", "old-b.raw=b.raw"
        place.restead("restore", backup, "--to", "web-1", *maps, "--yes")
        assert [path.read_bytes() for path in targets] == wanted
        line = place.restead("import", "raw", str(images[0]), "--server", "web-1", "--project", PROJECT, "--json")
        made = json.loads(line.splitlines()[-1])
        assert (made["server"]["name"], [disk["stored"] < _MIB for disk in made["disks"]]) == ("web-1", [True])
    assert [path.read_bytes() for path in images] == wanted
    new = Place(tmp_path / "new")
    new.folder.mkdir()
    new.restead("recover", "--repository", str(place.data / "repository"), "--data", str(new.data), stdin=key)
    with service(new):
        assert backup in new.restead("backup", "list")


@needs_qemu_nbd
def test_qcow2_without_a_service_and_wrong_words(tmp_path: Path) -> None:
    place = Place(tmp_path)
    raw, image = place.disk("a.raw", 3 * _MIB, seed=1), tmp_path / "a.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    place.token()
    words = ("--server", "old-1", "--project", PROJECT)
    place.restead("import", "qcow2", str(image), *words)
    listed = [json.loads(line) for line in place.restead("repository", "list", "--json").splitlines()]
    assert [(line["size"], line["role"], bool(line["backup_id"])) for line in listed] == [(3 * _MIB, "system", True)]
    looks = place.run("import", "raw", str(image), *words)
    assert "looks like qcow2 and will be imported as raw" in looks.stderr
    place.restead("import", "vmdk", str(image), *words, code=2)
    place.restead("import", "raw", str(tmp_path / "missing"), *words, code=4)
    place.restead("import", "raw", str(raw), *words, "--name", "not a name", code=4)
    unknown = "0d9a7c52-5a55-4f11-8a0c-1f0c3ab5a001"
    assert "there is no server" in place.run("import", "raw", str(raw), "--server", unknown, *words[2:]).stderr
    place.restead("server", "add", "one", "--project", PROJECT, "--disk", f"path={raw}")
    assert "2 images given, server one" in place.run(
        "import", "raw", str(raw), str(raw), "--server", "one", *words[2:]
    ).stderr
