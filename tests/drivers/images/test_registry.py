"""What an operator may say of a server, and what becomes of it on disk."""

import json
import os
import stat
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from restead.domain.errors import Code, Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ProjectId, ServerId, VolumeId
from restead.drivers.images import ImagesDriver
from restead.drivers.images.definition import DiskDefinition, Power, ServerDefinition, disk_from_text
from restead.drivers.images.registry import Registry

PROJECT = ProjectId("p-one")


def disk_file(folder: Path, name: str = "system.raw", size: int = 4096) -> Path:
    path = folder / name
    path.touch()
    os.truncate(path, size)
    return path


class Desk:
    """A registry, and a definition that it would take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = Registry(folder / "servers")
        self.disk = DiskDefinition(disk_file(folder))
        self.good = ServerDefinition("web-1", PROJECT, (self.disk,))

    def refused(self, definition: ServerDefinition) -> str:
        """Return why a definition is refused, after proving that nothing was stored of it."""
        before = self.registry.definitions()
        with pytest.raises(InvalidRequest) as raised:
            self.registry.add(definition)
        assert self.registry.definitions() == before
        return raised.value.message

    def file_of(self, server_id: ServerId) -> Path:
        return self.folder / "servers" / f"{server_id}.json"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_is_left_out_is_filled_in(desk: Desk) -> None:
    second = DiskDefinition(disk_file(desk.folder, "data.raw"), name="data")
    added = desk.registry.add(replace(desk.good, disks=(desk.disk, second)))
    assert uuid.UUID(added.id)
    assert all(uuid.UUID(disk.id) for disk in added.disks)
    assert [(disk.name, disk.boot) for disk in added.disks] == [("system.raw", True), ("data", False)]


def test_what_is_said_is_kept_and_read_again_by_anybody(desk: Desk) -> None:
    command = desk.folder / "power"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o700)
    full = ServerDefinition(
        "Wéb 1", PROJECT, (
            replace(desk.disk, id=VolumeId("disk-1")),
            DiskDefinition(disk_file(desk.folder, "b"), VolumeId("disk-2"), "boot", boot=True, shared=True),
        ), ServerId("server_1"), Power.COMMAND, command, 2048, 4, "zone-1", "aarch64", ("10.0.0.5", "2001:db8::1"),
    )  # fmt: skip
    added = desk.registry.add(full)
    assert added == replace(full, disks=(replace(full.disks[0], name="system.raw"), full.disks[1]))
    assert Registry(desk.folder / "servers").definition(ServerId("server_1")) == added
    assert [disk.id for disk in added.boot_first] == ["disk-2", "disk-1"]


def test_files_are_private_and_nothing_else_is_left(desk: Desk) -> None:
    added = desk.registry.add(desk.good)
    folder = desk.folder / "servers"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(desk.file_of(added.id).stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [".lock", f"{added.id}.json"]


def test_a_removed_server_is_gone_with_its_logs_and_its_disks_stay(desk: Desk) -> None:
    added = desk.registry.add(desk.good)
    (desk.folder / "servers" / f"{added.id}.serial.log").write_text("said")
    desk.registry.remove(added.id)
    assert [path.name for path in (desk.folder / "servers").iterdir()] == [".lock"]
    assert desk.disk.path.stat().st_size == 4096
    for ask in (desk.registry.definition, desk.registry.remove):
        with pytest.raises(NotFound) as raised:
            ask(added.id)
        assert raised.value.code == Code.SERVER_NOT_FOUND


def test_an_id_cannot_lead_out_of_the_folder(desk: Desk) -> None:
    (desk.folder / "secret.json").write_text("{}")
    for id in ("../secret", "..", "", "a/b", "a\0b", "a.json", "x" * 65):
        with pytest.raises(NotFound):
            desk.registry.definition(ServerId(id))


def test_every_wrong_member_is_refused_by_name(desk: Desk) -> None:
    two = (replace(desk.disk, boot=True), DiskDefinition(disk_file(desk.folder, "b"), boot=True))
    cases = [
        ({"name": ""}, "name has 0 characters"), ({"name": "x" * 256}, "256"), ({"name": "a\nb"}, "do not print"),
        ({"project": ProjectId("")}, "project"), ({"id": ServerId("-rf")}, "'-rf'"), ({"id": ServerId("a b")}, "'a b'"),
        ({"memory": -1}, "-1"), ({"cpus": 1000}, "1000"), ({"addresses": ("10.0.0.300",)}, "10.0.0.300"),
        ({"disks": ()}, "0 disks"), ({"disks": two}, "2 boot disks"), ({"zone": "\x00"}, "zone"),
        ({"power": Power.COMMAND}, "power command None"), ({"power_command": Path("/bin/true")}, "power none"),
        ({"power": Power.QEMU, "arch": "aarch64"}, "aarch64"), ({"arch": "X 86"}, "X 86"),
        ({"power": Power.COMMAND, "power_command": Path("power")}, "absolute"),
        ({"power": Power.COMMAND, "power_command": Path("/etc/passwd")}, "no executable"),
        ({"disks": (replace(desk.disk, format="vmdk"),)}, "'vmdk', which is not read"),
        ({"disks": (replace(desk.disk, format="vmdk"),)}, f"qemu-img convert -f vmdk -O raw {desk.disk.path}"),
        ({"disks": (replace(desk.disk, format="qcow2"),)}, "does not begin as a qcow2 image does"),
        ({"disks": (replace(desk.disk, format="qcow2", shared=True),)}, "shared and to be qcow2"),
        ({"disks": (replace(desk.disk, id=VolumeId("a/b")),)}, "a/b"),
        ({"disks": (desk.disk, replace(desk.disk, boot=True))}, "are one disk"),
        ({"power": Power.QEMU, "disks": (desk.disk,) * 25}, "25 disks"),
    ]  # fmt: skip
    for members, reason in cases:
        assert reason in desk.refused(replace(desk.good, **members))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "reason"), [(0, "holds 0 bytes"), (1000, "holds 1000 bytes"), (None, "No such file")]
)
def test_a_file_that_cannot_be_a_disk_is_refused(desk: Desk, size: int | None, reason: str) -> None:
    path = desk.folder / "odd.raw"
    if size is not None:
        disk_file(desk.folder, "odd.raw", size)
    assert reason in desk.refused(replace(desk.good, disks=(DiskDefinition(path),)))


@pytest.mark.parametrize(
    ("format", "at", "mark"),
    [("qcow2", 0, b"QFI\xfb"), ("vmdk", 0, b"KDMV"), ("vhdx", 0, b"vhdxfile"), ("vdi", 64, b"\x7f\x10\xda\xbe")],
)
def test_what_looks_like_another_format_has_to_be_said_to_be_raw(
    desk: Desk, format: str, at: int, mark: bytes
) -> None:
    """A guest can write any header into its disk; an operator can forget to convert one."""
    path = disk_file(desk.folder, "odd.raw", 8192)
    path.write_bytes(bytes(at) + mark + bytes(8192 - at - len(mark)))
    disk = disk_from_text(f"path={path}")
    assert f"looks like {format}" in desk.refused(replace(desk.good, disks=(disk,)))
    with path.open("r+b") as file:
        file.truncate(8191)
    advice = "say so: format=qcow2" if format == "qcow2" else f"qemu-img convert -f {format}"
    assert advice in desk.refused(replace(desk.good, disks=(replace(disk, format="raw"),)))
    with path.open("r+b") as file:
        file.truncate(8192)
    added = desk.registry.add(replace(desk.good, disks=(replace(disk, format="raw"),)))
    assert [each.format for each in added.disks] == ["raw"]


def test_a_format_that_nobody_said_is_raw(desk: Desk) -> None:
    added = desk.registry.add(replace(desk.good, disks=(replace(desk.disk, format=""),)))
    assert [each.format for each in added.disks] == ["raw"]


def test_what_is_no_file_or_device_is_refused(desk: Desk) -> None:
    os.mkfifo(desk.folder / "pipe")
    for path in (desk.folder, desk.folder / "pipe", Path("/dev/null"), Path("relative.raw")):
        assert str(path) in desk.refused(replace(desk.good, disks=(DiskDefinition(path),)))


def test_one_disk_has_one_server_by_whatever_name_it_is_called(desk: Desk) -> None:
    """Links are followed, and two names of one file are one disk."""
    first = desk.registry.add(desk.good)
    (desk.folder / "link").symlink_to(desk.disk.path)
    (desk.folder / "hard").hardlink_to(desk.disk.path)
    for name in ("system.raw", "link", "hard"):
        again = replace(desk.good, disks=(DiskDefinition(desk.folder / name, shared=True),))
        assert f"of server {first.id} already" in desk.refused(again)
    both = (desk.disk, DiskDefinition(desk.folder / "link"))
    desk.registry.remove(first.id)
    assert "are one disk" in desk.refused(replace(desk.good, disks=both))


def test_servers_that_both_say_so_share_a_disk_under_one_id(desk: Desk) -> None:
    shared = replace(desk.disk, shared=True)
    first = desk.registry.add(replace(desk.good, disks=(shared,)))
    second = desk.registry.add(replace(desk.good, name="web-2", disks=(shared,)))
    assert second.disks[0].id == first.disks[0].id
    other = replace(shared, id=VolumeId("other"))
    assert "one disk has one id" in desk.refused(replace(desk.good, name="web-3", disks=(other,)))


def test_ids_are_given_once(desk: Desk) -> None:
    one = str(uuid.uuid4())
    desk.registry.add(replace(desk.good, id=ServerId(one), disks=(replace(desk.disk, id=VolumeId(one)),)))
    other = DiskDefinition(disk_file(desk.folder, "b"))
    assert f"server {one.upper()} already" in desk.refused(replace(desk.good, id=ServerId(one.upper()), disks=(other,)))
    assert "one disk has one id" in desk.refused(replace(desk.good, disks=(replace(other, id=VolumeId(one.upper())),)))
    twice = (replace(other, id=VolumeId("x")), DiskDefinition(disk_file(desk.folder, "c"), VolumeId("x")))
    assert "2 disks with id x" in desk.refused(replace(desk.good, disks=twice))


def test_a_definition_of_a_newer_restead_is_not_guessed_at(desk: Desk) -> None:
    path = desk.file_of(desk.registry.add(replace(desk.good, id=ServerId("s"))).id)
    plain = json.loads(path.read_text())
    disk = plain["disks"][0]
    for changed in ({**plain, "schema": 3}, {**plain, "gpu": 1}, {**plain, "disks": [{**disk, "cache": "none"}]}):
        path.write_text(json.dumps(changed))
        with pytest.raises(Unavailable, match=r"s\.json"):
            desk.registry.definition(ServerId("s"))
        with pytest.raises(Unavailable):
            desk.registry.definitions()


def test_a_definition_that_was_broken_is_damaged(desk: Desk) -> None:
    path = desk.file_of(desk.registry.add(replace(desk.good, id=ServerId("s"))).id)
    text = path.read_text()
    plain = json.loads(text)
    disk = plain["disks"][0]
    wrong = [{"memory": "1"}, {"memory": True}, {"power": "steam"}, {"disks": [{**disk, "boot": 1}]}, {"disks": None}]
    lacking = [{key: value for key, value in plain.items() if key != gone} for gone in ("name", "disks")]
    for one in [text[:-20], "", "[]", *map(json.dumps, lacking), *(json.dumps(plain | part) for part in wrong)]:
        path.write_text(one)
        with pytest.raises(Damaged):
            desk.registry.definition(ServerId("s"))


def test_of_many_who_add_one_disk_at_once_one_succeeds(desk: Desk) -> None:
    """Each with a registry of its own, as processes have."""
    together = threading.Barrier(6)

    def add(number: int) -> bool:
        registry = Registry(desk.folder / "servers")
        together.wait(20)
        try:
            registry.add(replace(desk.good, name=f"web-{number}"))
        except InvalidRequest:
            return False
        return True

    with ThreadPoolExecutor(6) as racers:
        for _ in range(5):
            assert sorted(racers.map(add, range(6))) == [False] * 5 + [True]
            (added,) = desk.registry.definitions()
            desk.registry.remove(added.id)


def test_the_text_of_a_disk_is_read_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert disk_from_text("path=a.raw") == DiskDefinition(tmp_path / "a.raw", format="")
    with pytest.raises(InvalidRequest, match=r"say path=a\.raw"):
        disk_from_text("a.raw,boot")
    assert disk_from_text("path=/x,,y.raw,id=i,name=n,format=qcow2,boot,shared") == DiskDefinition(
        Path("/x,y.raw"), VolumeId("i"), "n", "qcow2", boot=True, shared=True
    )
    for wrong in ("", "a.raw", "path=", "path=a,boot=yes", "path=a,size=1", "path=a,path=b", "path=a,id", "path=a,"):
        with pytest.raises(InvalidRequest):
            disk_from_text(wrong)


def test_a_name_that_is_no_utf8_is_refused(desk: Desk) -> None:
    """No definition and no answer could carry it."""
    disk = disk_file(desk.folder, os.fsdecode(b"disk-\xff.raw"))
    assert "no UTF-8" in desk.refused(replace(desk.good, disks=(DiskDefinition(disk),)))
    assert not list(desk.folder.glob("servers/*.new"))


def test_what_lies_in_the_data_folder_is_no_disk(tmp_path: Path) -> None:
    """The records and the repository are files of the right size, and nobody's disks; a link to them is no way in."""
    data = tmp_path / "data"
    data.mkdir()
    inside = disk_file(data, "records.sqlite")
    link = tmp_path / "disk.raw"
    link.symlink_to(inside)
    driver = ImagesDriver(data, tmp_path / "run")
    for path in (inside, link):
        with pytest.raises(InvalidRequest, match="data folder"):
            driver.add(ServerDefinition("web-1", PROJECT, (DiskDefinition(path),)))
    assert driver.definitions() == []

    outside = disk_file(tmp_path, "outside.raw")
    server = driver.add(ServerDefinition("web-2", PROJECT, (DiskDefinition(outside),)))
    outside.unlink()
    outside.symlink_to(inside)
    for opened in (
        driver.open_target(PROJECT, server.id, server.disks[0].id),
        driver.open_moment(PROJECT, server.id, [server.disks[0].id]),
    ):
        with pytest.raises(Unavailable, match="data folder"), opened:
            pass


def test_tags_come_back_and_a_definition_without_them_is_read_by_an_older_restead(desk: Desk) -> None:
    tagged = desk.registry.add(replace(desk.good, tags=(("tier", "web"), ("zone", ""))))
    assert desk.registry.definition(tagged.id) == tagged
    assert json.loads(desk.file_of(tagged.id).read_text())["tags"] == {"tier": "web", "zone": ""}
    plain = desk.registry.add(replace(desk.good, name="web-2", disks=(DiskDefinition(disk_file(desk.folder, "b")),)))
    assert "tags" not in json.loads(desk.file_of(plain.id).read_text())


@pytest.mark.parametrize("tags", [(("", "x"),), (("a b", "x"),), (("a", "x" * 44),), (("a", "1"), ("a", "2"))])
def test_tags_that_policies_could_not_name_are_refused(desk: Desk, tags: tuple[tuple[str, str], ...]) -> None:
    assert "tag " in desk.refused(replace(desk.good, tags=tags))
