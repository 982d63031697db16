"""The power goes at everything that matters in a restore; afterwards all disks hold the backup, or what they held.

What matters: each transaction's begin and commit, each put into the store before it happens and after it happened but
before the answer, each write, blanking and flush of a disk, each stop and start of a server.  What a disk had not
flushed is lost, all of it or a part.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT
from tests.stories.honesty import hints_are_true, is_honest, nothing_is_left
from tests.stories.rewinding import RewindingHouse, Saved

from restead.domain.backup import Backup
from restead.domain.errors import Unavailable
from restead.domain.listing import RestoreFilter, Window
from restead.domain.restore import Restore
from restead.domain.server import Server
from restead.domain.states import RestoreState

SIZES = (24 * 1024, 8192)
MOST = 1000  # more things than a small story has
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Scene:
    """A server that was backed up and changed, before its restore."""

    def __init__(self, folder: Path) -> None:
        self.house = RewindingHouse(folder, chunk_size=512)
        self.server: Server = self.house.server(SIZES)
        self.wanted = self.house.disks(self.server)
        self.backup: Backup = self.house.protect(self.server)
        self.house.scribble(self.server, seed=2)
        self.before = self.house.disks(self.server)
        self.saved: Saved = self.house.save()

    def failing_at_the_end(self) -> None:
        """Let nothing but putting back bring the restore to an end: the proof of the second disk fails."""
        flushed: list[str] = []

        def fault(what: str) -> None:
            if what == "cloud: flush":
                flushed.append(what)
                if len(flushed) == 2:
                    raise Unavailable("the disk is dying")

        self.house.power.fault = fault


@contextmanager
def scene() -> Iterator[Scene]:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        made = Scene(Path(folder))
        yield made
        made.house.close()


def _cut(scene: Scene, cut_at: int, tell: Callable[[], object]) -> bool:
    scene.house.cut_power_at(cut_at)
    try:
        tell()
    except PowerCut:
        return True
    return False


def _last(scene: Scene) -> Restore | None:
    """Return the newest restore, ended, whatever it takes."""
    house = scene.house
    house.power.cut_at = None
    house.drain()
    found = house.service.restores.list(house.caller, PROJECT, RestoreFilter(), Window()).items
    return found[0] if found else None


def _restore(scene: Scene) -> None:
    scene.house.restore(scene.backup, power_on=True)


def _failing_restore(scene: Scene) -> None:
    scene.failing_at_the_end()
    scene.house.restore(scene.backup, power_on=True)


def _cancelled_restore(scene: Scene) -> None:
    house = scene.house
    restore = house.restore(scene.backup, power_on=True, wait=False)
    writes: list[str] = []

    def fault(what: str) -> None:
        if what == "cloud: write":
            writes.append(what)
            if len(writes) == 2:
                house.service.restores.cancel(house.caller, PROJECT, restore.id)

    house.power.fault = fault
    house.drain()


def _undo(scene: Scene) -> None:
    house = scene.house
    (restore,) = house.service.restores.list(house.caller, PROJECT, RestoreFilter(), Window()).items
    house.undo(restore, power_on=True)


@pytest.mark.parametrize("tell", [_restore, _failing_restore, _cancelled_restore], ids=lambda tell: tell.__name__)
@pytest.mark.parametrize("share", range(2))
def test_a_restore_survives_a_power_cut_anywhere(tell: Callable[[Scene], None], share: int) -> None:
    """It comes to an end by itself, that tells the truth, and a second one succeeds."""
    with scene() as it:
        for cut_at in range(1 + share, MOST, 2):
            it.house.rewind(it.saved)
            it.house.cloud.tracks = cut_at % 4 < 2
            cut = _cut(it, cut_at, lambda: tell(it))
            it.house.crash_and_restart(seed=cut_at)
            restore = _last(it)
            if restore is None:
                assert it.house.disks(it.server) == it.before
            else:
                is_honest(it.house, it.server, restore, it.wanted, it.before)
                assert tell is not _restore or restore.state is RestoreState.SUCCESS
                assert it.house.cloud.log in ([], [f"start {it.server.id}"])
                nothing_is_left(it.house)
            hints_are_true(it.house)
            if not cut:
                assert cut_at > 40, "a restore has more things than this that matter"
                return
        pytest.fail(f"the story has more than {MOST} things that matter")


def test_an_undo_survives_a_power_cut_anywhere() -> None:
    with scene() as it:
        _restore(it)
        it.house.cloud.stop(PROJECT, it.server.id, grace=None)  # type: ignore[arg-type]
        restored = it.house.save()
        for cut_at in range(1, MOST, 3):
            it.house.rewind(restored)
            it.house.cloud.tracks = cut_at % 2 == 0
            cut = _cut(it, cut_at, lambda: _undo(it))
            it.house.crash_and_restart(seed=cut_at)
            undoing = _last(it)
            assert undoing is not None
            if undoing.undo_of is None:
                assert it.house.disks(it.server) == it.wanted
            else:
                is_honest(it.house, it.server, undoing, it.before, it.wanted)
                assert undoing.state is RestoreState.SUCCESS
                nothing_is_left(it.house)
            hints_are_true(it.house)
            if not cut:
                return
        pytest.fail(f"the story has more than {MOST} things that matter")


@pytest.mark.parametrize("seed", range(30))
def test_the_power_may_go_again_and_again(seed: int) -> None:
    """Also in what the restart does, forward and back."""
    chance = random.Random(seed)
    with scene() as it:
        tell = chance.choice([_restore, _failing_restore, _cancelled_restore])
        it.house.cloud.tracks = chance.random() < 0.5
        cut = _cut(it, chance.randrange(5, 120), lambda: tell(it))
        it.house.crash_and_restart(seed=seed)
        while cut:
            cut = _cut(it, chance.randrange(1, 120), it.house.drain)
            it.house.crash_and_restart(seed=seed)
        restore = _last(it)
        if restore is not None:
            is_honest(it.house, it.server, restore, it.wanted, it.before)
            nothing_is_left(it.house)
        hints_are_true(it.house)
