"""A guest's file systems at rest for a moment, as far as its agent can do that; whatever happens, they are thawed.

That they may be frozen is noted before they are, and until the agent has said that they are not: who finds the note of
one that was killed thaws them.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog

from restead.domain.errors import Unavailable
from restead.domain.ids import ServerId
from restead.drivers.images.agent import Agent, agent_at
from restead.drivers.images.commandline import AGENT
from restead.drivers.images.left_over import Note
from restead.drivers.images.qmp import Monitor, NoAnswer
from restead.ports import Consistency

log = structlog.get_logger()


@contextmanager
def at_rest(server_id: ServerId, path: Path, monitor: Monitor, note: Note, limit: float) -> Iterator[Consistency]:
    """Freeze the guest's file systems, if its agent at *path* can do that in *limit* seconds; say whether they are.

    Raises:
        Unavailable: they were not thawed; that stays noted, and is tried again.
    """
    if not limit or not _hears(monitor):
        yield Consistency.CRASH
        return
    with ExitStack() as line:
        agent = _reached(line, path, server_id)
        frozen = agent is not None and _frozen(agent, note, server_id, limit)
        try:
            yield Consistency.FILESYSTEM if frozen else Consistency.CRASH
        finally:
            if agent is not None:
                _thaw(agent, note, server_id, frozen=frozen)


def thawed(path: Path) -> bool:
    """Thaw what may have been frozen; tell whether the agent at *path* says that nothing is frozen any more."""
    try:
        with agent_at(path) as agent:
            agent.thaw()
    except NoAnswer as error:
        log.warning("it is not known whether a guest's file systems are frozen", reason=str(error))
        return False
    return True


def _hears(monitor: Monitor) -> bool:
    """Tell whether something in the guest listens at the agent's channel; an older command line has none."""
    return any(line["label"] == AGENT and line["frontend-open"] for line in monitor.ask("query-chardev"))


def _reached(line: ExitStack, path: Path, server_id: ServerId) -> Agent | None:
    try:
        return line.enter_context(agent_at(path))
    except NoAnswer as error:
        _silent(error, server_id)
        return None


def _frozen(agent: Agent, note: Note, server_id: ServerId, limit: float) -> bool:
    note.change(frozen=True)
    try:
        return agent.freeze(limit) > 0
    except NoAnswer as error:
        _silent(error, server_id)
        return False


def _thaw(agent: Agent, note: Note, server_id: ServerId, *, frozen: bool) -> None:
    """Thaw; who hangs in a freeze is left to whoever takes the moment out, but what was frozen for sure is not."""
    try:
        agent.thaw()
    except NoAnswer as error:
        _silent(error, server_id)
        if frozen:
            raise Unavailable(f"the file systems of server {server_id} were frozen for its backup and could not be "
                              "thawed; it is tried again every minute", detail=str(error)) from error
    else:
        note.change(frozen=False)


def _silent(error: NoAnswer, server_id: ServerId) -> None:
    log.warning("a guest's agent did not do what it was asked", server=server_id, reason=str(error))
