"""Format 1 as docs/format.md has it: its vectors, and a repository that must open for ever."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.decoder import Folder, Keyring, Project, manifests, open_keyring

from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs.local import LocalBlobs
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import KeyFile, Passphrase, RecoveryKey, Repository, Secret, Window
from restead.repository.chunk import Form, Names, expand
from restead.repository.index import Index, decode_run
from restead.repository.keyring import ProjectKeys
from restead.repository.manifest import Root
from restead.repository.pack import PackReader, Place, Shelf
from restead.repository.runs import Hint
from restead.repository.seal import TAG_SIZE, Kind

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/data/format-1"
VECTORS: dict[str, Any] = json.loads((ROOT / "docs/format/packs.json").read_bytes())
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_bytes())


def keys() -> ProjectKeys:
    sealing = {int(number): bytes.fromhex(key) for number, key in VECTORS["sealing_keys"].items()}
    return ProjectKeys(ProjectId("p"), bytes.fromhex(VECTORS["name_key"]), sealing, max(sealing))


def shelf() -> Shelf:
    store = MemoryBlobs()
    for kind in ("pack", "index"):
        store.put(VECTORS[kind]["object"], bytes.fromhex(VECTORS[kind]["bytes"]))
    return Shelf(store, keys(), bytes.fromhex(VECTORS["repository_id"]), VECTORS["tag"])


def test_the_vectors_names_and_tag_are_ours() -> None:
    names = Names(keys().name_key)
    assert names.tag == VECTORS["tag"]
    for thing in VECTORS["pack"]["things"]:
        assert names.name(Kind(thing["kind"]), bytes.fromhex(thing["plain"])).hex() == thing["name"]


def test_the_vectors_pack_opens_and_its_contents_are_listed() -> None:
    reader = PackReader(shelf())
    pack = bytes.fromhex(VECTORS["pack"]["object"].rpartition("/")[2])
    contents = reader.contents(pack, len(VECTORS["pack"]["bytes"]) // 2)
    for found, thing in zip(contents, VECTORS["pack"]["things"], strict=True):
        plain = bytes.fromhex(thing["plain"])
        assert (found.name.hex(), found.kind, found.offset) == (thing["name"], thing["kind"], thing["offset"])
        place = Place(pack, found.offset, found.length, found.plain, found.form)
        sealed, body = bytearray(found.length), bytearray(found.length - TAG_SIZE)
        reader.read(pack, found.offset, memoryview(sealed))
        reader.open_into(place, found.kind, found.name, memoryview(sealed), memoryview(body))
        assert plain == (bytes(body) if found.form is Form.RAW else expand(body, found.plain, "it"))


def test_the_vectors_index_object_says_what_the_pack_holds(tmp_path: Path) -> None:
    index = Index(shelf(), tmp_path)
    index.refresh()
    pack = bytes.fromhex(VECTORS["pack"]["object"].rpartition("/")[2])
    wanted = []
    for thing in VECTORS["pack"]["things"]:
        place = Place(pack, thing["offset"], thing["length"], len(thing["plain"]) // 2, Form(thing["form"]))
        assert index.find(bytes.fromhex(thing["name"])) == [place]
        wanted.append(Hint(bytes.fromhex(thing["name"]), place))
    assert list(decode_run(bytes.fromhex(VECTORS["index"]["plain"]), "it")) == sorted(wanted)


def test_the_vectors_root_is_read_and_written_as_it_is() -> None:
    plain = bytes.fromhex(VECTORS["pack"]["things"][3]["plain"])
    assert Root.decode(plain, "it").encode() == plain


def test_the_decoder_restores_the_vectors_disk() -> None:
    """The decoder knows the document only."""
    folder = Folder(ROOT / "nowhere")
    stored = {VECTORS[kind]["object"]: bytes.fromhex(VECTORS[kind]["bytes"]) for kind in ("pack", "index")}
    folder.get = stored.__getitem__  # type: ignore[method-assign]
    folder.names = lambda prefix: [name for name in stored if name.startswith(prefix)]  # type: ignore[method-assign]
    ours = {"p": (keys().name_key, dict(keys().sealing_keys))}
    ring = Keyring(bytes.fromhex(VECTORS["repository_id"]), 512, {}, ours)
    project = Project(folder, ring, "p")
    assert project.disk(bytes.fromhex(VECTORS["disk"]["root"]))[0].hex() == VECTORS["disk"]["bytes"]
    assert {(name, place) for name, (_, place) in project.places.items()} == set(project.index())


def right(id: str, disk: bytes) -> bool:
    wanted = EXPECTED["manifests"][id]
    digest = wanted["sha256"] or hashlib.sha256(bytes(wanted["size"])).hexdigest()
    return len(disk) == wanted["size"] and hashlib.sha256(disk).hexdigest() == digest


def test_the_decoder_restores_every_disk_of_the_golden_repository() -> None:
    folder = Folder(GOLDEN / "store")
    keyring = open_keyring(folder, (GOLDEN / "key").read_bytes())
    found = manifests(folder, keyring)
    assert set(found) == set(EXPECTED["manifests"])
    projects = {id: Project(folder, keyring, id) for id in keyring.projects}
    for id, (project, root) in found.items():
        disk, about = projects[project].disk(root)
        assert right(id, disk), id
        assert about["taken_at"] == "2026-11-23T12:30:15.123456+00:00"
    for project in projects.values():
        assert {(name, place) for name, (_, place) in project.places.items()} == set(project.index())


SECRETS: dict[str, Callable[[], Secret]] = {
    "key file": lambda: KeyFile((GOLDEN / "key").read_bytes()),
    "passphrase": lambda: Passphrase(EXPECTED["passphrase"]),
    "recovery key": lambda: RecoveryKey.parse(EXPECTED["recovery_key"]),
}


@pytest.mark.parametrize("secret", SECRETS)
def test_the_golden_repository_opens_and_restores(tmp_path: Path, secret: str) -> None:
    """Every format that was ever released opens for ever, by each of its secrets, and can be written to."""
    shutil.copytree(GOLDEN / "store", tmp_path / "store")
    store = LocalBlobs(tmp_path / "store")
    window = Window(2, 2)
    repository = Repository.open(store, SECRETS[secret](), cache=tmp_path / "cache", scratch=tmp_path, window=window)
    for id in map(ManifestId, EXPECTED["manifests"]):
        manifest = repository.manifest(id)
        target = MemoryDisk(manifest.size)
        with repository.session(manifest.project, label="restore", reads=[id]) as session:
            session.verify(id)
            session.restore(id, target)
        assert right(id, target.data), id
        assert manifest.description.server["name"] == "gölden"
    last = ManifestId("5.0")
    with repository.session(ProjectId("project-a"), label="again", reads=[last]) as session:
        target = MemoryDisk(repository.manifest(last).size)
        session.restore(last, target)
        saved = session.save(target, parent=last, description=repository.manifest(last).description)
        (again,) = session.commit([saved])
    assert saved.count.new == 0
    assert repository.manifest(again).root_name == repository.manifest(last).root_name
