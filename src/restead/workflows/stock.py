"""What the repository holds and what the rows name of it: the two are compared here, and nothing is changed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from restead.domain.errors import Damaged
from restead.domain.ids import BackupId, ManifestId, ProjectId, RunId, VolumeId, canonical_id
from restead.domain.server import Server
from restead.domain.states import BackupState
from restead.domain.stock import NamedDisk, StoredDisk
from restead.records import Records, runs, stock
from restead.records.encoding import build, known
from restead.repository import Manifest, ManifestEntry, Repository

_Key = tuple[ManifestId, ProjectId, RunId, str]
"""A manifest's id says where in the log it stands; with these it is this one, and not another history's."""


@dataclass(frozen=True, slots=True)
class Stock:
    """Repository and rows at one moment."""

    entries: Sequence[ManifestEntry]  # oldest first
    named: Mapping[_Key, BackupId]
    available: Sequence[NamedDisk]  # named by backups that say they can be restored
    under_way: Collection[RunId]

    @property
    def unnamed(self) -> list[ManifestEntry]:
        """What no row names, though the run that made it has ended, or is not known any more."""
        return [e for e in self.entries if _key_of(e) not in self.named and e.session_label not in self.under_way]

    @property
    def lost(self) -> list[NamedDisk]:
        """What backups name that can be restored, as they say, and the repository does not hold."""
        there = set(map(_key_of, self.entries))
        return [each for each in self.available if _key_of_named(each) not in there]

    @property
    def unheld(self) -> set[BackupId]:
        """Backups in any state that name what the repository does not hold."""
        there = set(map(_key_of, self.entries))
        return {id for key, id in self.named.items() if key not in there}

    @property
    def held(self) -> set[BackupId]:
        """Backups in any state all of whose disks the repository holds."""
        return set(self.named.values()) - self.unheld


def take_stock(records: Records, repository: Repository) -> Stock:
    """Return what there is.

    While runs are under way, a row may be about to follow: what such a run has made counts neither as unnamed nor as
    lost.

    Raises:
        Damaged: the repository's log is.
    """
    with records.read() as tx:
        # The rows first: what is committed meanwhile is of a run that they know to be under way.
        under_way = runs.under_way(tx)
        named = {_key_of_named(each): each.backup_id for each in stock.named(tx)}
        available = list(stock.named(tx, BackupState.AVAILABLE))
    return Stock(list(repository.log.refresh().manifests.values()), named, available, under_way)


def unheld(records: Records, repository: Repository) -> set[BackupId]:
    """Return `Stock.unheld`, keeping in memory only what may be meant of many rows.  Raises as `take_stock`."""
    before = _keys_in(repository)
    with records.read() as tx:
        missing = [each for each in stock.named(tx) if _key_of_named(each) not in before]
    now = _keys_in(repository)  # the rows first: what they name may have been put since we looked
    if not before <= now:
        return take_stock(records, repository).unheld  # something has gone meanwhile, and rows may name it
    return {each.backup_id for each in missing if _key_of_named(each) not in now}


def stored_disks(records: Records, repository: Repository) -> Iterator[StoredDisk]:
    """Yield every disk backup in the repository, oldest first.  Raises as `take_stock`."""
    found = take_stock(records, repository)
    for entry, manifest in repository.described(found.entries):
        backup_id = found.named.get(_key_of(entry))
        yield _stored(entry, manifest, backup_id, under_way=entry.session_label in found.under_way)


def warnings_of(records: Records, repository: Repository) -> list[str]:
    """Return what an operator should know and do.  Raises as `take_stock`."""
    found = take_stock(records, repository)
    said = []
    if found.unnamed:
        number = len(found.unnamed)
        said.append(
            f"{number} disk {'backup' if number == 1 else 'backups'} in the repository "
            f"{'is' if number == 1 else 'are'} in no list: restead repository adopt"
        )
    if found.lost:
        number = len({each.backup_id for each in found.lost})
        said.append(
            f"{number} {'backup' if number == 1 else 'backups'} in the lists cannot be restored, because the "
            "repository does not hold all of its disks: restead repository adopt"
        )
    return said


def server_of(manifests: Sequence[Manifest]) -> Server:
    """Return the server as it was when these disks of it were backed up, with those disks.

    Raises:
        Damaged: what stands beside the bytes is not what this program writes there.
    """
    described = manifests[0].description.server
    server = build(Server, known(Server, described))
    there = [volume for manifest in manifests if (volume := server.volume(VolumeId(manifest.label))) is not None]
    if len(there) != len(manifests) or server.project_id != manifests[0].project:
        which = f"server {server.id} of project {server.project_id}"
        raise Damaged(f"what stands beside the bytes cannot be read: these are not disks of {which}")
    return replace(server, volumes=tuple(there))


def _keys_in(repository: Repository) -> set[_Key]:
    return set(map(_key_of, repository.log.refresh().manifests.values()))


def _key_of(entry: ManifestEntry) -> _Key:
    return entry.id, entry.project, RunId(entry.session_label), canonical_id(entry.label)


def _key_of_named(each: NamedDisk) -> _Key:
    return each.manifest, each.project_id, each.run_id, canonical_id(each.volume_id)


def _stored(
    entry: ManifestEntry, manifest: Manifest | Damaged, backup_id: BackupId | None, *, under_way: bool
) -> StoredDisk:
    run_id = RunId(entry.session_label)
    if isinstance(manifest, Damaged):
        damage = manifest.message
        return StoredDisk(entry.id, entry.project, entry.label, run_id, backup_id, under_way, damage=damage)
    about = manifest.description
    return StoredDisk(
        entry.id, entry.project, entry.label, run_id, backup_id, under_way, about.role, manifest.size, about.taken_at,
        about.server,
    )  # fmt: skip


def disk_names(repository: Repository, entries: Sequence[ManifestEntry]) -> dict[ManifestId, str]:
    """Return what each of these disks was called on its server: its id if what stands beside its bytes is damaged."""
    names = {}
    for entry, manifest in repository.described(entries):
        try:
            found = None if isinstance(manifest, Damaged) else server_of([manifest]).volumes[0]
        except (Damaged, ValueError, KeyError, TypeError, AttributeError):
            found = None
        names[entry.id] = found.name if found is not None else entry.label
    return names
