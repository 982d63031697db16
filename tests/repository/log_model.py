"""A model of the log's rules: every order in which things can happen, explored.

One chunk is followed through writers, a restorer, collectors, and somebody who deletes manifests and ends
sessions whenever he likes.  Each takes one step at a time; a step is one put, one delete or one look, and
an append is one step with its re-check (a loser reads the winner first).  An actor that crashes is one that
takes no further step, and those who stop are in every order explored.

Lost: a manifest needs the chunk and no pack holds it, or a restorer that may write finds none.

`explore` goes breadth-first through all states of a scenario, so the story of a loss is a shortest one.
`Rules` has a switch for each rule of the log; `tests/repository/test_log_model.py` shows that with all of
them nothing is lost, and without any one of them something is.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

Names = frozenset[str]
NONE: Names = frozenset()


@dataclass(frozen=True)
class Rules:
    """All True is the log as it is."""

    view_after_open: bool = True  # what is condemned is looked up after `open`, not before
    condemned_are_absent: bool = True  # a hint to a pack condemned before `open` does not count
    condemned_for_ever: bool = True  # also after `removed`
    pack_after_open: bool = True  # a session builds on packs it put after its `open`, or on hints
    index_after_pack: bool = True
    trust_only_reads: bool = True  # pages of a parent are trusted unread only if `open` names it
    void_open: bool = True  # an `open` that reads a deleted manifest is void
    reads_are_needed: bool = True  # what an open session reads is needed
    void_commit: bool = True  # a `commit` after `end` is void
    void_second_commit: bool = True
    void_progress: bool = True  # a `progress` after `end` is void
    progress_is_needed: bool = True
    pins_outlive_end: bool = True  # only an `end` with unpin takes a restore's pins away
    wait: bool = True  # a collector waits for sessions
    wait_for_open_at_condemn: bool = True  # those open at the condemnation's number, not those seen before it
    mark_again: bool = True  # after the waiting
    copy: bool = True  # what is needed and only condemned packs hold
    no_holder_in_any_list: bool = True  # packs condemned by other lists do not count as holders


@dataclass(frozen=True)
class Scenario:
    """Who takes part."""

    writers: int = 2
    collectors: int = 1
    restorer: bool = False
    progress: bool = False  # writer 0 leaves partial manifests, others may go on from them
    reappear: bool = False  # a put that was given up may still land, also after the pack was removed


class Session(NamedTuple):
    phase: str = "none"  # none, open, committed, ended
    reads: str = ""  # a manifest
    pins: str = ""


class Writer(NamedTuple):
    at: str = "start"
    view: Names = NONE  # packs condemned before its `open`
    builds_on: str = ""  # a pack, or a manifest whose pages it trusts
    seen: str = ""  # a manifest it saw living before its `open`
    progressed: bool = False


class Collector(NamedTuple):
    at: str = "start"
    list: str = ""  # the condemnation it works on
    packs: Names = NONE  # to be deleted
    waits: frozenset[int] | None = None  # sessions it saw before condemning (only without that rule)
    needed: bool = False  # what its mark said
    stored: Names = NONE  # packs it listed


class List(NamedTuple):
    name: str
    packs: Names
    waits: frozenset[int]


class World(NamedTuple):
    packs: Names  # in the store now; each holds the chunk
    hints: Names  # packs that some index or cache names, stale ones too
    live: Names  # manifests that need the chunk
    sessions: tuple[Session, ...]  # of the writers, then of the restorer
    writers: tuple[Writer, ...]
    collectors: tuple[Collector, ...]
    lists: frozenset[List] = frozenset()  # condemnations not yet removed
    gone: Names = NONE  # packs of removed condemnations
    partial: bool = False  # writer 0's partial manifest stands
    restorer: str = "start"
    broken: str = ""


Step = tuple[str, World]


class Outcome(NamedTuple):
    states: int
    loss: list[str] | None  # the steps that lead to it


def explore(scenario: Scenario, rules: Rules, limit: int = 2_000_000) -> Outcome:
    """Visit every state; stop at the first loss.  Raises RuntimeError if there are more than *limit*."""
    start = _start(scenario)
    came_from: dict[World, Step | None] = {start: None}
    queue = deque([start])
    while queue:
        world = queue.popleft()
        if world.broken or (world.live and not world.packs):
            return Outcome(len(came_from), _story(world, came_from))
        for step in steps(world, scenario, rules):
            if step[1] not in came_from:
                came_from[step[1]] = (step[0], world)
                queue.append(step[1])
        if len(came_from) > limit:
            raise RuntimeError(f"more than {limit} states")
    return Outcome(len(came_from), None)


def steps(world: World, scenario: Scenario, rules: Rules) -> Iterator[Step]:
    """Yield everything that can happen next."""
    for i in range(scenario.writers):
        yield from _writer_steps(world, i, scenario, rules)
    if scenario.restorer:
        yield from _restorer_steps(world, rules)
    for i in range(scenario.collectors):
        yield from _collector_steps(world, i, rules)
    yield from _ender_steps(world, scenario, rules)


def _start(scenario: Scenario) -> World:
    sessions = scenario.writers + scenario.restorer
    return World(
        packs=frozenset({"P"}),
        hints=frozenset({"P"}),
        live=frozenset({"M"}),
        sessions=(Session(),) * sessions,
        writers=(Writer(),) * scenario.writers,
        collectors=(Collector(),) * scenario.collectors,
    )


def _story(world: World, came_from: dict[World, Step | None]) -> list[str]:
    told = [world.broken or "the chunk is lost"]
    while (step := came_from[world]) is not None:
        told.append(step[0])
        world = step[1]
    return told[::-1]


# What the log says


def condemned(world: World, rules: Rules) -> Names:
    listed = NONE.union(*(one.packs for one in world.lists))
    return listed | world.gone if rules.condemned_for_ever else listed


def needed(world: World, rules: Rules) -> bool:
    """Tell what a mark would say of the chunk."""
    if world.live or (world.partial and rules.progress_is_needed):
        return True
    if any(session.pins for session in world.sessions):
        return True
    return rules.reads_are_needed and any(s.reads for s in world.sessions if s.phase == "open")


def _can_open(world: World, manifest: str, rules: Rules) -> bool:
    living = manifest in world.live or (manifest == "partial" and world.partial)
    return manifest == "" or living or not rules.void_open


def _set(world: World, i: int, session: Session) -> World:
    return world._replace(sessions=_put(world.sessions, i, session))


def _put(items: tuple, i: int, item: NamedTuple) -> tuple:
    return (*items[:i], item, *items[i + 1 :])


# Writers: open → (trust a parent | find a hint | pack → index) → commit → end


def _writer_steps(world: World, i: int, scenario: Scenario, rules: Rules) -> Iterator[Step]:
    me, own = world.writers[i], f"pack {i}"
    match me.at:
        case "start":
            yield from _before_open(world, i, rules)
        case "looking":
            yield from _looks(world, i, rules)
        case "packing" | "half":
            yield _packs(world, i, rules)
        case "built":
            yield from _commits(world, i, scenario, rules)
        case "committed":
            yield from _after_commit(world, i, rules)
    if scenario.reappear and me.at in ("half", "built") and me.builds_on == own and own not in world.packs:
        yield f"a put of writer {i} lands once more", world._replace(packs=world.packs | {own})


def _now(world: World, i: int, **changes: object) -> World:
    return world._replace(writers=_put(world.writers, i, world.writers[i]._replace(**changes)))


def _before_open(world: World, i: int, rules: Rules) -> Iterator[Step]:
    me, who, own = world.writers[i], f"writer {i}", f"pack {i}"
    if not me.seen:
        parents = [*(manifest for manifest in world.live if manifest != f"W{i}"), *(["partial"] * world.partial)]
        for manifest in parents:
            yield f"{who} sees {manifest}", _now(world, i, seen=manifest)
    if not rules.view_after_open and not me.view:
        yield f"{who} looks up what is condemned", _now(world, i, view=condemned(world, rules) | {"looked"})
    if not rules.pack_after_open and not me.builds_on:
        yield f"{who} puts its pack before it opens", _stored(_now(world, i, builds_on=own), "pack", own)
    view = condemned(world, rules) if rules.view_after_open else me.view
    if not rules.view_after_open and not me.view:
        return
    reads = me.seen if rules.trust_only_reads else ""
    if _can_open(world, reads, rules):
        at = "built" if me.builds_on else "looking"
        opened = _set(_now(world, i, at=at, view=view), i, Session("open", reads))
        yield f"{who} opens, reading {reads or 'nothing'}", opened


def _looks(world: World, i: int, rules: Rules) -> Iterator[Step]:
    me, who = world.writers[i], f"writer {i}"
    found = {"view": NONE, "seen": ""}
    if me.seen:
        yield f"{who} trusts the pages of {me.seen}", _now(world, i, at="built", builds_on=me.seen, **found)
    for pack in world.hints:
        if pack not in me.view or not rules.condemned_are_absent:
            yield f"{who} finds a hint to {pack}", _now(world, i, at="built", builds_on=pack, **found)
    yield f"{who} finds nothing", _now(world, i, at="packing", builds_on=f"pack {i}", **found)


def _packs(world: World, i: int, rules: Rules) -> Step:
    first = world.writers[i].at == "packing"
    what = "pack" if first == rules.index_after_pack else "index"
    return f"writer {i} puts its {what}", _stored(_now(world, i, at="half" if first else "built"), what, f"pack {i}")


def _stored(world: World, what: str, pack: str) -> World:
    if what == "pack":
        return world._replace(packs=world.packs | {pack})
    return world._replace(hints=world.hints | {pack})


def _commits(world: World, i: int, scenario: Scenario, rules: Rules) -> Iterator[Step]:
    me, session = world.writers[i], world.sessions[i]
    made = world._replace(
        writers=_put(world.writers, i, Writer("committed")),
        live=world.live | {f"W{i}"},
    )
    if session.phase == "open":
        takes_over = i == 0 or session.reads == "partial"
        committed = made._replace(partial=world.partial and not takes_over)
        yield f"writer {i} commits", _set(committed, i, Session("committed"))
    elif not rules.void_commit:
        yield f"writer {i} commits after its end", made
    if scenario.progress and i == 0 and not me.progressed and (session.phase == "open" or not rules.void_progress):
        noted = world._replace(writers=_put(world.writers, i, me._replace(progressed=True)), partial=True)
        yield "writer 0 notes its progress", noted


def _after_commit(world: World, i: int, rules: Rules) -> Iterator[Step]:
    done = _now(world, i, at="done")
    if world.sessions[i].phase == "committed":
        yield f"writer {i} ends", _set(done, i, Session("ended"))
    if not rules.void_second_commit and f"W{i}" not in world.live:
        yield f"writer {i} commits again", done._replace(live=world.live | {f"W{i}"})


# The restorer: open, reading M → commit, pinning M → write → end


def _restorer_steps(world: World, rules: Rules) -> Iterator[Step]:
    i = len(world.sessions) - 1
    session = world.sessions[i]
    match world.restorer:
        case "start":
            if _can_open(world, "M", rules) and "M" in world.live:
                yield "restorer opens, reading M", _set(world._replace(restorer="open"), i, Session("open", "M"))
        case "open":
            if session.phase == "open":
                pinned = Session("committed", pins="M")
                yield "restorer commits, pinning M", _set(world._replace(restorer="writing"), i, pinned)
        case "writing":
            broken = "" if world.packs else "the restorer finds no pack"
            yield "restorer writes", world._replace(restorer="written", broken=broken)
        case "written":
            yield "restorer ends and unpins", _set(world._replace(restorer="done"), i, Session("ended"))


# Collectors: condemn → wait → mark → list → copy → delete → removed


def _collector_steps(world: World, i: int, rules: Rules) -> Iterator[Step]:
    me, who = world.collectors[i], f"collector {i}"
    match me.at:
        case "start":
            yield from _condemns(world, i, rules)
        case "waiting":
            yield from _waits(world, i, rules)
        case "marking":
            says = needed(world, rules) if rules.mark_again else me.needed
            yield f"{who} marks: {'needed' if says else 'not needed'}", _next(world, i, at="listing", needed=says)
        case "listing":
            yield f"{who} lists the packs", _next(world, i, at="copying", stored=world.packs)
        case "copying":
            yield from _copies(world, i, rules)
        case "deleting":
            yield from _deletes(world, i)


def _next(world: World, i: int, **changes: object) -> World:
    return world._replace(collectors=_put(world.collectors, i, world.collectors[i]._replace(**changes)))


def _waits(world: World, i: int, rules: Rules) -> Iterator[Step]:
    name = world.collectors[i].list
    mine = next((one for one in world.lists if one.name == name), None)
    if mine is None:
        yield f"collector {i} finds {name} done", _next(world, i, at="done", list="")
    elif not rules.wait or all(world.sessions[session].phase != "open" for session in mine.waits):
        yield f"collector {i} has waited", _next(world, i, at="marking", packs=mine.packs)


def _deletes(world: World, i: int) -> Iterator[Step]:
    me = world.collectors[i]
    for pack in me.packs:
        deleted = _next(world, i, packs=me.packs - {pack})
        yield f"collector {i} deletes {pack}", deleted._replace(packs=world.packs - {pack})
    if not me.packs:
        yield f"collector {i} says removed", _removed(_next(world, i, at="done", list="", needed=False), me.list)


def _condemns(world: World, i: int, rules: Rules) -> Iterator[Step]:
    me, who = world.collectors[i], f"collector {i}"
    for one in world.lists:
        taken = Collector("waiting", one.name)
        yield f"{who} takes over {one.name}", world._replace(collectors=_put(world.collectors, i, taken))
    still_open = frozenset(n for n, session in enumerate(world.sessions) if session.phase == "open")
    if not rules.wait_for_open_at_condemn and me.waits is None:
        seen = world._replace(collectors=_put(world.collectors, i, me._replace(waits=still_open)))
        yield f"{who} looks who is open", seen
        return
    waits = still_open if me.waits is None else me.waits
    candidates = world.packs - condemned(world, rules)
    choices = {frozenset({pack}) for pack in candidates} | ({candidates} if candidates else set())
    for packs in choices:
        condemning = Collector("waiting", f"list {i}", needed=needed(world, rules))
        yield (
            f"{who} condemns {', '.join(sorted(packs))}",
            world._replace(
                collectors=_put(world.collectors, i, condemning),
                lists=world.lists | {List(f"list {i}", packs, waits)},
            ),
        )


def _copies(world: World, i: int, rules: Rules) -> Iterator[Step]:
    me, who, copy = world.collectors[i], f"collector {i}", f"copy {i}"
    not_to_count = me.packs | (condemned(world, rules) if rules.no_holder_in_any_list else NONE)
    going_on = Collector("deleting", me.list, me.packs)
    if me.needed and rules.copy and not me.stored - not_to_count:
        if not world.packs:
            stopped = Collector("stopped")
            yield f"{who} finds no holder and stops", world._replace(collectors=_put(world.collectors, i, stopped))
            return
        stored = _stored(_stored(world, "pack", copy), "index", copy)
        yield f"{who} copies the chunk", stored._replace(collectors=_put(world.collectors, i, going_on))
    else:
        yield f"{who} need not copy", world._replace(collectors=_put(world.collectors, i, going_on))


def _removed(world: World, name: str) -> World:
    done = [one for one in world.lists if one.name == name]
    return world._replace(lists=world.lists.difference(done), gone=world.gone.union(*(one.packs for one in done)))


# Somebody who deletes what he likes and ends whom he likes


def _ender_steps(world: World, scenario: Scenario, rules: Rules) -> Iterator[Step]:
    for i, session in enumerate(world.sessions):
        if session.phase in ("open", "committed"):
            pins = session.pins if rules.pins_outlive_end else ""
            yield f"somebody ends session {i}", _set(world, i, Session("ended", pins=pins))
    last = f"W{scenario.writers - 1}"  # one manifest that nobody deletes, so that a loss can be seen
    for manifest in world.live:
        if manifest != last:
            yield f"somebody deletes {manifest}", world._replace(live=world.live - {manifest})
