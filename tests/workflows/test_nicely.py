"""What is read of running servers is read and sealed by threads that let others first; nothing else is."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.fakes.cloud import MemoryCloud
from tests.house import House

from restead.domain.errors import Damaged
from restead.domain.ids import ProjectId, ServerId, VolumeId
from restead.ports import Moment
from restead.repository import DiskDescription
from restead.repository.manifest import Root
from restead.repository.room import Room, Window
from restead.workflows.nicely import nicely


class GoneWrongError(Exception):
    pass


def niceness() -> int:
    """That of this thread alone."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@dataclass(frozen=True)
class _Paused:
    """A moment of a server that runs."""

    moment: Moment
    pause: timedelta = timedelta(milliseconds=1)

    def __getattr__(self, name: str) -> object:
        return getattr(self.moment, name)


class _Watched(MemoryCloud):
    """Its servers can be read while they run; it notes how nice is who reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.live = False
        self.seen: dict[str, set[int]] = {}

    def note(self, operation: str) -> None:
        self.seen.setdefault(operation, set()).add(niceness())

    @contextmanager
    def open_moment(
        self, project_id: ProjectId, server_id: ServerId, volume_ids: Sequence[VolumeId]
    ) -> Iterator[Moment]:
        with super().open_moment(project_id, server_id, volume_ids) as moment:
            yield _Paused(moment) if self.live else moment  # type: ignore[misc]


@pytest.fixture
def cloud() -> _Watched:
    return _Watched()


def _house(folder: Path, cloud: _Watched, nice: int) -> House:
    house = House(folder, cloud=cloud, nice=nice)
    cut, cloud.before = cloud.before, lambda operation: (cut(operation), cloud.note(operation))[0]
    return house


@pytest.mark.parametrize(("live", "nice", "more"), [(True, 7, 7), (True, 0, 0), (False, 7, 0)])
def test_disks_of_running_servers_are_read_more_nicely_and_no_others(
    tmp_path: Path, cloud: _Watched, live: bool, nice: int, more: int
) -> None:
    """And moments are opened, and restores read and write, as nicely as the service is."""
    own = niceness()
    house = _house(tmp_path, cloud, nice)
    try:
        server = house.server()
        cloud.live = live
        cloud.fill(server.volumes[0].id, os.urandom(8192))
        backup = house.protect(server)
        assert cloud.seen["read"] == {own + more}
        assert cloud.seen["open_moment"] == {own}
        cloud.seen.clear()
        cloud.fill(server.volumes[0].id, os.urandom(8192))
        house.restore(backup, server)
        assert cloud.seen["read"] | cloud.seen["write"] == {own}
    finally:
        house.close()


def test_work_and_the_threads_that_it_starts_are_nicer_and_nobody_else() -> None:
    found: list[int] = []

    def work() -> str:
        thread = threading.Thread(target=lambda: found.append(niceness()))
        thread.start()
        thread.join()
        found.append(niceness())
        return "done"

    own = niceness()
    assert nicely(5, work) == "done"
    assert found == [own + 5, own + 5]
    assert niceness() == own


@pytest.mark.parametrize("by", [0, 3])
def test_what_goes_wrong_goes_wrong_as_without_it(by: int) -> None:
    def work() -> None:
        raise GoneWrongError

    with pytest.raises(GoneWrongError):
        nicely(by, work)


def test_pages_are_fetched_ahead_as_nicely_as_who_asks_for_them_works() -> None:
    """The threads for that stay, and restores ask for pages as well."""
    nothing, found = cast(Any, SimpleNamespace(store=None)), list[int]()
    room = Room(nothing, nothing, nothing, nothing, Window(ahead=1))
    root = Root(4096, 4096, b"\1" * 32, DiskDescription("data", datetime.now(UTC), "crash"))

    def look() -> None:
        tree = room.tree(root, lambda _: (found.append(niceness()), b"no page")[1])
        tree.expect(0, 0)
        with pytest.raises(Damaged):
            tree.leaf(0)

    own = niceness()
    nicely(4, look)
    look()
    nicely(4, look)
    assert found == [own + 4, own, own + 4]
