"""A model of a restore's order of durability: every crash, cancel and takeover at every place, explored.

Two disks are followed, one of two pieces, one of one; each piece held 'O' (old) and is to hold 'N' (new), and may be
torn ('T').  A piece is what the medium holds, what a read through the cache shows, and whether that is still to be
flushed.  A failed flush leaves a cache that shows what the medium may not hold.  One process works at a time, in
lives: a life ends by a kill (the cache stays), a power cut (it does not), or a takeover while the old owner still has
a write in flight.  Somebody deletes manifests whenever he likes.

Wrong: the row says success and a piece is not new; the row says undone and a piece is not old; a mark covers a piece
that is not done; a restore under way that can go neither on nor back.  `Rules` has a switch for each rule;
`tests/repository/test_restore_model.py` shows that with all of them nothing goes wrong, and without any one of them
something does.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

DISKS = ((0, 1), (2,))  # pieces of each disk, in order
PIECES = range(3)


@dataclass(frozen=True)
class Rules:
    """All True is the restore as it is."""

    packs_before_commit: bool = True
    commit_before_row: bool = True  # the safety manifests exist before the row says writing
    one_transaction: bool = True  # the row says writing, and where the safety manifests are, at once
    row_before_writes: bool = True
    pins_keep_wanted: bool = True
    pins_keep_safety: bool = True
    unpin_last: bool = True  # only when the row says that all has ended
    flush_before_mark: bool = True
    marks_start_anew: bool = True  # putting back begins with no marks
    row_before_putting_back: bool = True
    failed_flush_is_final: bool = True  # no mark and no ending by a life that saw one; putting back reads nothing
    past_caches: bool = True  # a later life believes neither the medium nor the cache that an earlier one left alone
    flush_before_ending: bool = True
    all_disks_before_ending: bool = True
    fence: bool = True  # the old owner's writes end before the new one begins


class Piece(NamedTuple):
    medium: str = "O"
    seen: str = "O"
    dirty: bool = False


class Life(NamedTuple):
    """What a process knows, and forgets when it dies."""

    first: bool = True
    survey: str = ""  # what it read in phase one, piece by piece
    turned: bool = False  # it is putting back
    done: frozenset[int] = frozenset()  # pieces that it has made right
    flushed: frozenset[int] = frozenset()  # those of them that a flush has covered
    failed: bool = False  # a flush


class World(NamedTuple):
    pieces: tuple[Piece, ...] = (Piece(),) * 3
    row: str = "comparing"
    noted: bool = False  # the rows know the safety manifests
    marks: tuple[int, ...] = (0, 0)  # pieces of each disk that are done
    life: Life = Life()
    packs: bool = False
    safety: str = ""  # what the safety manifests say stood there; empty: none
    pinned: bool = False
    wanted: bool = True  # it still exists
    late: tuple[int, str] | None = None  # a write of an old owner
    troubles: int = 0
    wrong: str = ""


Step = tuple[str, World]
TROUBLES = 2  # crashes and failed flushes in one history


NOTHING: frozenset[int] = frozenset()


class Outcome(NamedTuple):
    states: int
    story: list[str] | None  # of something wrong


def explore(rules: Rules) -> Outcome:
    """Go through all states, breadth first, until something is wrong."""
    came: dict[World, Step | None] = {World(): None}
    queue = deque(came)
    while queue:
        world = queue.popleft()
        if problem := world.wrong or _wrong(world):
            return Outcome(len(came), [*_story(came, world), problem])
        for name, after in _steps(world, rules):
            if after not in came:
                came[after] = (name, world)
                queue.append(after)
    return Outcome(len(came), None)


def _story(came: dict[World, Step | None], world: World) -> list[str]:
    told: list[str] = []
    while (step := came[world]) is not None:
        told.insert(0, step[0])
        world = step[1]
    return told


def _wrong(world: World) -> str:
    expected = {"success": "N", "undone": "O"}.get(world.row)
    if expected and any((one.medium, one.seen) != (expected, expected) for one in world.pieces):
        return f"the row says {world.row}, the disks hold {[one.medium for one in world.pieces]}"
    aim = {"writing": "NNN", "putting_back": world.safety}.get(world.row)
    if aim and any(world.pieces[i].medium != aim[i] for i in _marked(world)):
        return f"the marks are {world.marks}, the disks hold {[one.medium for one in world.pieces]}"
    return ""


def _steps(world: World, rules: Rules) -> Iterator[Step]:
    if world.row == "comparing":
        yield from _prepares(world, rules)
    if world.row in ("writing", "putting_back") or (world.safety and not rules.row_before_writes):
        yield from _works(world, rules)
    if world.row in ("writing", "putting_back"):
        yield from _ends(world, rules)
    yield from _commits_late(world, rules)
    if world.row not in ("success", "undone"):
        yield from _crashes(world, rules)
    yield from _others(world, rules)


# Phase one


def _prepares(world: World, rules: Rules) -> Iterator[Step]:
    life = world.life
    if not life.survey:
        seen = "".join(one.seen for one in world.pieces)
        yield "survey", world._replace(life=life._replace(survey=seen))
        return
    if not world.packs:
        yield "put packs", world._replace(packs=True)
    if not world.safety and (world.packs or not rules.packs_before_commit):
        yield "commit with pins", world._replace(safety=life.survey, pinned=True)
    if world.safety or not rules.commit_before_row:
        noted = bool(world.safety) and rules.one_transaction
        yield "row writing", world._replace(row="writing", noted=noted)


def _commits_late(world: World, rules: Rules) -> Iterator[Step]:
    """What an order that is not ours leaves to be done in phase two."""
    life = world.life
    if world.row != "writing" or not life.survey:
        return
    if not world.packs:
        yield "put packs late", world._replace(packs=True)
    if not world.safety and not rules.commit_before_row:
        yield "commit late", world._replace(safety=life.survey, pinned=True, noted=True)
    if world.safety and not world.noted:
        yield "note the safety manifests late", world._replace(noted=True)


# Phase two, and the way back


def _works(world: World, rules: Rules) -> Iterator[Step]:
    life = world.life
    back = world.row == "putting_back" or life.turned
    if life.failed and rules.failed_flush_is_final and not back:
        return
    for i in PIECES:
        if i in life.done or i in _marked(world):
            continue
        target = world.safety[i] if back else "N"
        one = world.pieces[i]
        right = one.seen == target and (life.first or not rules.past_caches or one.medium == target)
        done = life._replace(done=life.done | {i})
        if right and not (life.failed and rules.failed_flush_is_final):
            yield f"piece {i} is {target} already", world._replace(life=done)
        else:
            pieces = _put(world.pieces, i, one._replace(seen=target, dirty=True))
            yield f"write {target} to piece {i}", world._replace(pieces=pieces, life=done)
    for d, disk in enumerate(DISKS):
        yield from _flushes(world, d, disk, rules)


def _flushes(world: World, d: int, disk: tuple[int, ...], rules: Rules) -> Iterator[Step]:
    life = world.life
    reached = life.flushed | (life.done & set(disk))
    clean = tuple(_flushed(one) if i in disk else one for i, one in enumerate(world.pieces))
    yield f"flush disk {d}", world._replace(pieces=clean, life=life._replace(flushed=reached))
    dirty = [i for i in disk if world.pieces[i].dirty]
    if dirty and world.troubles < TROUBLES:
        for lost in product((False, True), repeat=len(dirty)):
            pieces = world.pieces
            for i, gone in zip(dirty, lost, strict=True):
                one = pieces[i]
                pieces = _put(pieces, i, one._replace(medium=one.medium if gone else one.seen, dirty=False))
            failed = life._replace(failed=True)
            if rules.failed_flush_is_final:  # whoever puts back begins again, and reads nothing
                failed = failed._replace(done=NOTHING, flushed=NOTHING)
            yield f"flush of disk {d} fails", world._replace(pieces=pieces, life=failed, troubles=world.troubles + 1)
    safe = life.flushed if rules.flush_before_mark else life.done
    count = world.marks[d]
    while count < len(disk) and disk[count] in safe:
        count += 1
    if count > world.marks[d] and not _unbelieved(world, rules):
        yield f"mark {count} of disk {d}", world._replace(marks=_put(world.marks, d, count))


def _unbelieved(world: World, rules: Rules) -> bool:
    return world.life.failed and rules.failed_flush_is_final and not world.life.turned


def _ends(world: World, rules: Rules) -> Iterator[Step]:
    life = world.life
    back = world.row == "putting_back"
    ready = (life.flushed if rules.flush_before_ending else life.done) | _marked(world)
    whole = [all(i in ready for i in disk) for disk in DISKS]
    if (all(whole) if rules.all_disks_before_ending else any(whole)) and not _unbelieved(world, rules):
        medium = [one.medium for one in world.pieces]
        proven = life.first or not rules.past_caches or medium == [*(world.safety if back else "NNN")]
        if proven and (back or not life.turned):
            yield "row ends", world._replace(row="undone" if back else "success")
    if back:
        return
    turned = life._replace(turned=True, done=NOTHING, flushed=NOTHING)
    if world.safety and world.noted and not life.turned:
        marks = (0, 0) if rules.marks_start_anew else world.marks
        yield "row putting_back", world._replace(row="putting_back", marks=marks, life=turned)
        if not rules.row_before_putting_back:
            yield "begins to put back", world._replace(life=turned)


# What happens to it


def _crashes(world: World, rules: Rules) -> Iterator[Step]:
    if world.troubles >= TROUBLES:
        return
    after = _reborn(world._replace(troubles=world.troubles + 1))
    yield "killed", after
    ways = [{one.medium, one.seen, "T"} if one.dirty else {one.medium} for one in world.pieces]
    for left in product(*ways):
        yield f"power cut leaves {''.join(left)}", after._replace(pieces=tuple(Piece(x, x) for x in left))
    if world.row in ("writing", "putting_back") and not rules.fence and world.late is None:
        value = "N" if world.row == "writing" else "O"
        for i in PIECES:
            yield f"taken over; the old owner is about to write {value} to {i}", after._replace(late=(i, value))


def _reborn(world: World) -> World:
    """The next life: it flushes first, and takes from the rows what there is to do."""
    pieces = tuple(_flushed(one) for one in world.pieces)
    back = world.row == "putting_back"
    world = world._replace(pieces=pieces, life=Life(first=world.row == "comparing", turned=back))
    if world.row == "comparing":  # what was prepared is given up: all is read anew
        return world._replace(packs=False, safety="", pinned=False)
    if not (world.safety and world.packs and world.noted):
        return world._replace(wrong="a later life finds nothing that it could put back")
    return world


def _others(world: World, rules: Rules) -> Iterator[Step]:
    if world.late is not None:
        i, value = world.late
        pieces = _put(world.pieces, i, Piece(world.pieces[i].medium, value, True))
        yield f"the old owner writes {value} to piece {i}", world._replace(pieces=pieces, late=None)
    under_way = world.row in ("writing", "putting_back")
    if world.pinned and (world.row in ("success", "undone") or not rules.unpin_last):
        yield "unpin", world._replace(pinned=False)
    if under_way and world.safety and not (world.pinned and rules.pins_keep_safety):
        yield "the safety manifests are deleted and collected", world._replace(wrong="nothing to put back")
    if world.row == "writing" and world.safety and not (world.pinned and rules.pins_keep_wanted):
        yield "the wanted manifests are deleted and collected", world._replace(wrong="nothing to go on with")


def _marked(world: World) -> frozenset[int]:
    return frozenset(i for disk, count in zip(DISKS, world.marks, strict=True) for i in disk[:count])


def _flushed(one: Piece) -> Piece:
    return Piece(one.seen, one.seen) if one.dirty else one


def _put(values: tuple, at: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*values[:at], value, *values[at + 1 :])
