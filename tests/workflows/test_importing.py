"""Images that become a backup: whatever they are, and wherever it ends."""

import os
import shutil
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from tests.drivers.image_files import needs_qemu_nbd, qemu_img
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House

from restead.domain.audit import Phase
from restead.domain.backup import Backup
from restead.domain.errors import Code, InvalidRequest, ResteadError, Unavailable
from restead.domain.ids import ServerId, VolumeId, new_id
from restead.domain.listing import Window
from restead.domain.operation import OperationFilter
from restead.domain.quota import QuotaLimits
from restead.domain.run import RunKind
from restead.domain.server import Server, ServerStatus, Volume
from restead.domain.states import BackupState, OperationState, RestoreState
from restead.domain.stock import Settlement
from restead.drivers.images import DiskDefinition, ImagesDriver
from restead.records import audit
from restead.workflows.adopt import Adoption
from restead.workflows.importing import Importer, ImportRequest
from restead.workflows.meter import Reading
from restead.workflows.stock import take_stock, warnings_of


class Desk:
    """Imports into a house."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house, self.folder = house, folder
        self.driver = ImagesDriver(folder / "own", folder)
        self.quotas = QuotaLimits()
        self.note_every = timedelta(minutes=5)

    def file(self, name: str, data: bytes, size: int | None = None) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        os.truncate(path, len(data) if size is None else size)
        return path

    def run(self, *files: Path, format: str = "raw", server: Server | None = None, name: str = "old") -> Backup:
        server = server or _described(files)
        disks = {
            volume.id: DiskDefinition(path, VolumeId(str(path)), format=format)
            for volume, path in zip(server.volumes, files, strict=False)
        }
        importer = Importer(
            self.house.records, self.house.repository, self.house.folder / "cache", self.quotas, self.note_every
        )
        return importer.run(ImportRequest(server, name, "kept"), self.driver.open_images(disks), _nobody)

    def refuses(self, kind: type[ResteadError], words: str, *files: Path, format: str = "raw") -> ResteadError:
        """An import fails so, and nothing of it is there."""
        with pytest.raises(kind, match=words) as caught:
            self.run(*files, format=format)
        assert self.house.all_backups() == ()
        stock = take_stock(self.house.records, self.house.repository)
        assert not stock.entries
        assert not any(session.open for session in self.house.repository.log.refresh().sessions.values())
        return caught.value


def _nobody(reading: Reading) -> None:
    """Nobody watches."""


def _described(files: tuple[Path, ...]) -> Server:
    volumes = tuple(Volume(VolumeId(new_id()), path.name, 0, bootable=at == 0) for at, path in enumerate(files))
    return Server(ServerId(new_id()), PROJECT, "web-1", ServerStatus.STOPPED, volumes)


@pytest.fixture
def desk(house: House, tmp_path: Path) -> Desk:
    folder = tmp_path / "desk"
    folder.mkdir()
    return Desk(house, folder)


def _restores(house: House, backup: Backup, wanted: list[bytes]) -> None:
    target = house.server([len(each) for each in wanted], name=f"target-{new_id()[:8]}", seed=9)
    restore = house.restore(backup, onto=target)
    assert (restore.state, restore.failure) == (RestoreState.SUCCESS, None)
    assert house.disks(target) == wanted


def test_raw_images_become_an_ordinary_backup(desk: Desk) -> None:
    """Full and sparse ones, of the moment when the newest was changed: restored and deleted as any other."""
    house, data = desk.house, os.urandom(64 * 1024)
    system = desk.file("system.raw", data)
    sparse = desk.file("sparse.raw", b"x" * 512, size=512 * 1001)
    os.utime(system, (1_000_000_000, 1_000_000_000))
    os.utime(sparse, (1_100_000_000, 1_100_000_000))
    made = desk.run(system, sparse)
    backup = house.backup(made.id)
    assert backup == made
    assert (backup.state, backup.progress) == (BackupState.AVAILABLE, 100)
    assert (backup.consistency, backup.name, backup.description) == ("offline", "old", "kept")
    assert backup.protected_at is not None
    assert backup.protected_at.timestamp() == 1_100_000_000
    assert [(v.size, v.bootable, v.volume_name) for v in backup.volumes] == [
        (64 * 1024, True, "system.raw"), (512 * 1001, False, "sparse.raw"),
    ]  # fmt: skip
    assert backup.volumes[0].stored > backup.volumes[1].stored > 0, "holes cost nothing"
    wanted = [data, (b"x" * 512).ljust(512 * 1001, b"\0")]
    _restores(house, backup, wanted)
    assert [system.read_bytes(), sparse.read_bytes()] == wanted, "the images are as they were"
    assert warnings_of(house.records, house.repository) == []
    house.service.checkpoints.delete(house.caller, PROJECT, backup.checkpoint_id, None)
    house.drain()
    assert backup.id not in {each.id for each in house.all_backups()}
    left = {entry.session_label for entry in take_stock(house.records, house.repository).entries}
    assert backup.run_id not in left


def test_images_of_a_known_server_are_its_disks_in_order(desk: Desk) -> None:
    """The next backup of that disk builds on what was imported; a disk without an image is left out."""
    server = desk.house.server([8192, 4096])
    first = desk.house.disks(server)[0]
    backup = desk.run(desk.file("first.raw", first), server=server)
    assert [volume.volume_id for volume in backup.volumes] == [server.volumes[0].id]
    assert backup.excluded == (server.volumes[1].id,)
    desk.house.scribble(server, 5)
    restore = desk.house.restore(backup)
    assert restore.state is RestoreState.SUCCESS
    assert desk.house.disks(server)[0] == first
    assert [volume.incremental for volume in desk.house.protect(server).volumes] == [True, False]


@pytest.mark.long_on_postgres
def test_power_cut_anywhere_in_an_import(desk: Desk) -> None:
    """Adopting afterwards gives the whole backup or none, and leaves no session open."""
    house, data = desk.house, os.urandom(16 * 1024)
    files = desk.file("a.raw", data), desk.file("b.raw", data[:4096])
    adopted = 0
    for at in count(1):
        before = {backup.id for backup in house.all_backups()}
        house.cut_power_at(at)
        try:
            desk.run(*files, name=f"cut-{at}")
            break
        except PowerCut:
            house.crash_and_restart()
        settled = list(Adoption(house.records, house.repository).settle())
        assert {each.what for each in settled} <= {Settlement.ADOPTED}
        adopted += len(settled)
        new = [backup for backup in house.all_backups() if backup.id not in before]
        assert len(new) <= 1
        for backup in new:
            assert (backup.name, backup.description, backup.consistency) == (f"cut-{at}", "kept", "offline")
            _restores(house, backup, [data, data[:4096]])
        assert not any(session.open for session in house.repository.log.refresh().sessions.values())
        assert warnings_of(house.records, house.repository) == []
    assert adopted >= 1, "the cut between commit and rows was met"


def test_what_was_adopted_first_is_not_made_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody adopts between commit and rows: there is one backup, and it is told of."""
    begin = desk.house.records.begin

    def adopt_first() -> object:
        monkeypatch.setattr(desk.house.records, "begin", begin)
        assert [each.what for each in Adoption(desk.house.records, desk.house.repository).settle()] == [
            Settlement.ADOPTED
        ]
        return begin()

    monkeypatch.setattr(desk.house.records, "begin", adopt_first)
    made = desk.run(desk.file("a.raw", os.urandom(4096)))
    assert [backup.id for backup in desk.house.all_backups()] == [made.id]


def test_a_quota_that_is_used_up_refuses_before_anything_is_stored(desk: Desk) -> None:
    desk.quotas = QuotaLimits(backups=0)
    error = desk.refuses(InvalidRequest, "quota backups of the project is 0 and 0 are used", desk.file("a", bytes(512)))
    assert error.code is Code.QUOTA_EXCEEDED


def test_two_imports_at_once_do_not_get_past_a_quota(desk: Desk) -> None:
    """Both begin while there is room for one; the one that ends first has it, nothing of the other is kept."""
    desk.quotas, house = QuotaLimits(backups=1), desk.house
    first, second = desk.file("a.raw", os.urandom(4096)), desk.file("b.raw", os.urandom(4096))
    made: list[Backup] = []

    def come_between(what: str) -> None:
        if what.startswith("put packs/") and not made:
            house.power.fault = lambda what: None
            made.append(desk.run(second, name="second"))

    house.power.fault = come_between
    with pytest.raises(InvalidRequest, match="quota backups of the project is 1 and 1 are used") as caught:
        desk.run(first, name="first")
    assert caught.value.code is Code.QUOTA_EXCEEDED
    assert house.all_backups() == tuple(made)
    stock = take_stock(house.records, house.repository)
    assert {entry.session_label for entry in stock.entries} == {made[0].run_id}
    assert _left_behind(desk) == ([], [], [])


def test_an_import_that_was_killed_is_not_in_vain(desk: Desk) -> None:
    """It has noted how far it was: the next one ends its session and builds on what it has stored, collected or not."""
    house, data = desk.house, os.urandom(24 << 20)
    path, desk.note_every = desk.file("a.raw", data), timedelta(microseconds=1)
    _killed_at_pack(desk, 9, path)
    sessions, noted, known = _left_behind(desk)
    assert (len(sessions), len(noted), len(known)) == (1, 1, 1)
    house.repository.end(house.repository.sessions(sessions[0])[0].number)  # or a collection would wait for it
    house.repository.collect(garbage=0.01)
    house.repository.collect(garbage=0.01)
    backup = desk.run(path)
    assert backup.volumes[0].stored <= 16 << 20
    assert _left_behind(desk) == ([], [], [])
    house.repository.collect(garbage=0.01)
    target = house.server([len(data)], name="target", seed=9)
    assert house.restore(backup, onto=target).state is RestoreState.SUCCESS
    assert house.disks(target) == [data]


def test_adopting_drops_what_killed_imports_have_noted(desk: Desk) -> None:
    """Also where nobody knows of them any more, because the cache is gone."""
    house, desk.note_every = desk.house, timedelta(microseconds=1)
    path = desk.file("a.raw", os.urandom(12 << 20))
    _killed_at_pack(desk, 3, path)
    assert len(_left_behind(desk)[1]) == 1
    shutil.rmtree(house.folder / "cache")
    house.close()
    house.open()
    assert list(Adoption(house.records, house.repository).settle()) == []
    assert _left_behind(desk) == ([], [], [])


def _killed_at_pack(desk: Desk, number: int, path: Path) -> None:
    """Import *path* with a power cut at that pack; from then on nothing is put any more, until the restart."""
    puts: list[str] = []

    def cut(what: str) -> None:
        puts.append(what)
        if sum(each.startswith("put packs/") for each in puts) >= number:
            raise PowerCut(what)

    desk.house.power.fault = cut
    with pytest.raises(PowerCut):
        desk.run(path)
    desk.house.crash_and_restart()


def _left_behind(desk: Desk) -> tuple[list[str], list[str], list[str]]:
    """Return the labels of open sessions, of partial manifests, and those that locks tell of."""
    state = desk.house.repository.log.refresh()
    locks = (desk.house.folder / "cache").glob("*.imports/*")
    return (
        [session.label for session in state.sessions.values() if session.open],
        [entry.session_label for entry in state.partial.values()],
        [path.name for path in locks if path.name != "lock"],
    )


@pytest.mark.parametrize("size", [0, 1, 511, 513])
def test_odd_sizes_are_no_disks(desk: Desk, size: int) -> None:
    desk.refuses(InvalidRequest, f"holds {size} bytes; a disk is a multiple of 512", desk.file("a.raw", bytes(size)))


def test_what_is_no_image_is_refused(desk: Desk) -> None:
    """A missing file, a folder, and the second of two files: nothing of the first is stored either."""
    good = desk.file("good.raw", bytes(512))
    desk.refuses(InvalidRequest, "missing.raw cannot be used: No such file", desk.folder / "missing.raw")
    desk.refuses(InvalidRequest, "neither a regular file nor a block device", desk.folder)
    desk.refuses(InvalidRequest, "missing.raw cannot be used", good, desk.folder / "missing.raw")
    desk.refuses(InvalidRequest, "does not begin as a qcow2 image does", good, format="qcow2")


def test_a_file_that_is_written_is_refused(desk: Desk) -> None:
    path = desk.file("a.raw", bytes(4096))
    with path.open("r+b"):
        desk.refuses(Unavailable, "a.raw is in use", path)
    desk.run(path)


def test_an_image_that_changes_while_it_is_read_makes_no_backup(desk: Desk) -> None:
    path = desk.file("a.raw", os.urandom(4096))
    done = []

    def change(what: str) -> None:
        if what.startswith("put packs/") and not done:
            done.append(what)
            os.utime(path)

    desk.house.power.fault = change
    desk.refuses(Unavailable, "was changed while it was read", path)
    assert done


def test_an_import_is_in_the_log(desk: Desk) -> None:
    """As the backup's task, ended; one that is refused is not."""
    house = desk.house
    desk.refuses(InvalidRequest, "holds 1 bytes", desk.file("odd.raw", b"x"))
    made = desk.run(desk.file("a.raw", os.urandom(4096)))
    entry = house.service.operations.operation(house.caller, PROJECT, made.run_id)
    assert house.service.operations.list(house.caller, PROJECT, OperationFilter(), Window()).items == (entry,)
    assert (entry.kind, entry.state, entry.failure) == (RunKind.BACKUP, OperationState.SUCCESS, None)
    assert (entry.backup_id, entry.backup_name, entry.checkpoint_id) == (made.id, "old", made.checkpoint_id)
    assert (entry.server_name, entry.plan_id, entry.incremental) == ("web-1", None, False)
    assert entry.created_at == entry.started_at == made.created_at
    assert entry.ended_at is not None
    assert entry.ended_at >= made.created_at
    (told,) = [each.said for each in audit.entries(house.records)]
    assert (told.phase, told.action, told.subject, told.outcome) == (Phase.ENDED, "backup", made.id, "done")


@needs_qemu_nbd
def test_qcow2_images_are_what_a_machine_sees(desk: Desk) -> None:
    """And those that need another file, or a secret, are refused."""
    data = os.urandom(128 * 1024) + bytes(64 * 1024)
    raw, image, over = desk.file("a.raw", data), desk.folder / "a.qcow2", desk.folder / "over.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-c", str(raw), str(image))
    qemu_img("create", "-q", "-f", "qcow2", "-b", str(image), "-F", "qcow2", str(over))
    plain = image.read_bytes()
    secret = desk.file("secret.qcow2", plain[:32] + (2).to_bytes(4, "big") + plain[36:])  # its header says LUKS
    desk.refuses(InvalidRequest, "backing file, which is never followed", over, format="qcow2")
    desk.refuses(InvalidRequest, "is an encrypted qcow2 image", secret, format="qcow2")
    before = image.read_bytes()
    backup = desk.run(image, format="qcow2")
    assert backup.volumes[0].size == len(data)
    _restores(desk.house, backup, [data])
    assert image.read_bytes() == before
