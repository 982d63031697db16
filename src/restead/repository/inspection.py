"""The whole repository looked at: log, keyring, index, packs, and which disks need what is damaged.

It holds no session and stops nobody.  What is deleted or collected meanwhile is no damage: before a disk is called
damaged, the log is asked whether its manifest is still there.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from restead.domain.errors import Damaged
from restead.domain.ids import ProjectId
from restead.domain.verification import DamagedDisk, Depth, Finding
from restead.domain.wording import count_of
from restead.ports import BlobStore
from restead.repository.index import pack_of
from restead.repository.journal import Journal
from restead.repository.keyring import Keyring
from restead.repository.log import Log, ManifestEntry
from restead.repository.mapping import Mapping
from restead.repository.openings import check_contents, lost_in, open_all
from restead.repository.ranges import total
from restead.repository.room import Room, Window
from restead.repository.scrub import Spend, look_at, scrub_control, scrub_object

_PACK = re.compile(r"packs/[0-9a-f]+/[0-9a-f]{64}")


@dataclass
class Inspected:
    """What was found."""

    findings: list[Finding] = field(default_factory=list)
    disks: list[DamagedDisk] = field(default_factory=list)


class Inspection:
    """One look, of one depth."""

    def __init__(
        self,
        store: BlobStore,
        keyring: Keyring,
        log: Log,
        room: Callable[[ProjectId], Room],
        depth: Depth,
        *,
        journal: Journal,
        spend: Spend,
        told: Callable[[int, int], None],
        window: Window,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._log = log
        self._room = room
        self._depth = depth
        self._journal = journal
        self._spend = spend
        self._told = told
        self._window = window
        self._found: dict[str, str] = {}  # name of an object → what is wrong with it
        self._sizes: list[tuple[str, int]] = []  # of all packs, by name

    def run(self) -> Inspected:
        """Return what is wrong.  What an interruption leaves is gone on with by the next one with this journal."""
        try:
            self._control()
            self._sizes = sorted(self._store.list("packs/"))
            self._packs()
        finally:
            self._journal.keep()
        self._found |= self._journal.findings
        result = Inspected()
        for project in sorted(self._keyring.projects):
            result.disks += self._disks(project)
        self._log.refresh()
        result.findings = [Finding(name, message) for name, message in sorted(self._found.items())]
        self._journal.forget()
        return result

    # ------------------------------------------------------------------ log, keyring, index

    def _control(self) -> None:
        self._noting("keyring", self._keyring.check)
        for error in self._log.check():
            self._found.setdefault(_object_in(error, "log"), error.message)
        self._keyless()
        for project in sorted(self._keyring.projects):
            for name, error in self._room(project).index.check():
                self._found.setdefault(name, error.message)
        if self._depth is not Depth.STRUCTURE:
            for name, error in scrub_control(self._store, self._spend):
                self._found.setdefault(name, error.message)

    def _keyless(self) -> None:
        """Note disks whose project has no keys: its keyring version is missing, and nothing opens them without it."""
        projects = [entry.project for entry in self._log.refresh().manifests.values()]
        for project in sorted(set(projects) - set(self._keyring.projects)):
            self._found["keyring"] = (
                f"the keyring holds no keys of project {project}, and the log tells of "
                f"{count_of(projects.count(project), 'disk backup')} of it: its newest version is missing, or "
                "the project's keys were destroyed"
            )

    def _noting(self, fallback: str, check: Callable[[], None]) -> None:
        try:
            check()
        except Damaged as error:
            self._found.setdefault(_object_in(error, fallback), error.message)

    # ------------------------------------------------------------------ packs

    def _packs(self) -> None:
        rooms = {room.shelf.prefix: room for room in map(self._room, self._keyring.projects)}

        def look(name: str, size: int, spend: Spend) -> None:
            self._pack(rooms.get(f"{name.rpartition('/')[0]}/"), name, size, spend)

        for _ in look_at(
            self._sizes, look, spend=self._spend, journal=self._journal, told=self._told,
            threads=self._window.whole_threads,
        ):  # fmt: skip
            pass  # the journal has it

    def _pack(self, room: Room | None, name: str, size: int, spend: Spend) -> None:
        piece = self._window.whole or self._window.span
        if room is None:  # of a project whose keys are destroyed
            if self._depth is not Depth.STRUCTURE:
                scrub_object(self._store, name, size, spend, piece=piece)
            return
        pack = pack_of(name)
        if self._depth is Depth.FULL:
            open_all(room, pack, size, self._keyring.chunk_size, spend)
            return
        if self._depth is Depth.OBJECTS:
            scrub_object(self._store, name, size, spend, piece=piece)
        check_contents(room, pack, size, spend)

    # ------------------------------------------------------------------ disks

    def _disks(self, project: ProjectId) -> Iterator[DamagedDisk]:
        room = self._room(project)
        try:
            room.index.refresh()
        except Damaged as error:
            self._found.setdefault(_object_in(error, "index"), error.message)
        sound = self._sound(room)
        mapping = Mapping(room, sound, proven=self._depth is not Depth.STRUCTURE, check=partial(self._spend, 0))
        try:
            for entry in [each for each in self._log.refresh().manifests.values() if each.project == project]:
                damaged = self._disk(mapping, entry)
                if damaged is not None:
                    yield damaged
        finally:
            room.lost.keep()

    def _sound(self, room: Room) -> set[bytes]:
        """Return the packs of which nothing is wrong; know what is lost in the others."""
        sound: set[bytes] = set()
        for name, size in self._sizes:
            if not name.startswith(room.shelf.prefix):
                continue
            if name not in self._found:
                sound.add(pack_of(name))
            else:
                self._know_lost(room, name, size)
        return sound

    def _know_lost(self, room: Room, name: str, size: int) -> None:
        try:
            pack = pack_of(name)
        except Damaged:
            return
        for lost in lost_in(room, pack, size, self._keyring.chunk_size, self._spend):
            if len({place.pack for place in room.index.find(lost)} - {pack}) == 0:
                room.lost.add([lost])

    def _disk(self, mapping: Mapping, entry: ManifestEntry) -> DamagedDisk | None:
        try:
            mapping.check(entry.root)
        except Damaged as error:
            if entry.id not in self._log.refresh().manifests:
                return None  # deleted meanwhile, and perhaps collected
            for name in _PACK.findall(error.message):
                self._found.setdefault(name, error.message)
            ranges = tuple(error.ranges)
            return DamagedDisk(entry.id, entry.project, entry.label, ranges, total(ranges), error.message)
        return None


def _object_in(error: Damaged, fallback: str) -> str:
    """Return the object that a message begins with."""
    first = error.message.split(maxsplit=1)[0].rstrip(":")
    return first if "/" in first else fallback
