"""File systems at rest: a guest's agent that is well, fails, hangs or is deaf; whatever it does, they are thawed."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conformance.cloud import PROJECT
from tests.conformance.live import await_, moment_of, running
from tests.drivers.images.cloud import ImagesCloud
from tests.drivers.images.test_live import assert_nothing_is_left, go_on
from tests.lab.guest_agent import FakeAgent

from restead.domain.server import Server
from restead.drivers.images import Accel, ImagesOptions, Power
from restead.drivers.images.agent import agent_at
from restead.drivers.images.left_over import LeftOver, noting
from restead.drivers.images.qmp import NoAnswer
from restead.ports import Consistency

# A QEMU in which a serial line, always heard, stands for the agent's channel; whoever speaks there is the test.
QEMU = """#!{python}
import os, sys
words = []
for word in sys.argv[1:]:
    if word.startswith("virtserialport,chardev=agent"):
        word = "isa-serial,chardev=agent"
    if word.startswith("socket,id=agent"):
        word = word.replace(".qga", ".other")
    words.append(word)
os.execv("{qemu}", ["{qemu}", *words])
"""


@pytest.fixture
def machines(tmp_path: Path, runtime: Path) -> Iterator[ImagesCloud]:
    program = tmp_path / "qemu"
    program.write_text(QEMU.format(python=sys.executable, qemu=shutil.which("qemu-system-x86_64")))
    program.chmod(0o700)
    options = ImagesOptions(accel=Accel.TCG, qemu=str(program), freeze_limit=timedelta(seconds=1))
    cloud = ImagesCloud(tmp_path, runtime, Power.QEMU, options)
    yield cloud
    cloud.close()


@pytest.fixture
def server(machines: ImagesCloud) -> Server:
    return running(machines, "W")


@pytest.fixture
def agent(runtime: Path, server: Server) -> Iterator[FakeAgent]:
    (monitor,) = runtime.glob("*.qmp")
    agent = FakeAgent(monitor.with_suffix(".qga"))
    yield agent
    agent.close()


def noted_as_frozen(machines: ImagesCloud, server: Server) -> bool:
    with noting(machines.folder / f"data/servers/{server.id}.live") as note:
        assert note is not None
        left = note.read()
        return left is not None and left.frozen


def test_file_systems_are_frozen_for_the_moment_and_thawed(
    machines: ImagesCloud, server: Server, agent: FakeAgent, runtime: Path
) -> None:
    with moment_of(machines, server) as moment:
        assert moment.consistency is Consistency.FILESYSTEM
        assert (agent.told, agent.frozen) == (["freeze", "thaw", "status"], False)
    assert_nothing_is_left(machines, server, runtime)


@pytest.mark.parametrize("mood", ["fails", "deaf"])
def test_an_agent_that_cannot_or_does_not_answer_makes_it_crash_consistent(
    machines: ImagesCloud, server: Server, agent: FakeAgent, runtime: Path, mood: str
) -> None:
    agent.mood = mood
    with moment_of(machines, server) as moment:
        assert moment.consistency is Consistency.CRASH
        assert not agent.frozen
    assert_nothing_is_left(machines, server, runtime)


def test_a_freeze_that_hangs_is_thawed_whenever_it_comes(
    machines: ImagesCloud, server: Server, agent: FakeAgent, runtime: Path
) -> None:
    agent.mood = "hangs"
    with moment_of(machines, server) as moment:
        assert moment.consistency is Consistency.CRASH
    assert noted_as_frozen(machines, server)  # nobody can know
    agent.go_on()
    await_(lambda: agent.told.count("thaw") > 0 and not agent.frozen)
    machines.driver.clean_up(go_on)
    assert not noted_as_frozen(machines, server)
    assert (agent.told[0], agent.told[-1], agent.frozen) == ("freeze", "status", False)
    assert_nothing_is_left(machines, server, runtime)


def test_file_systems_that_a_killed_service_left_frozen_are_thawed(
    machines: ImagesCloud, server: Server, agent: FakeAgent, runtime: Path
) -> None:
    with moment_of(machines, server):
        pass
    agent.frozen = True
    pid = int((machines.folder / f"data/servers/{server.id}.pid").read_text())
    with noting(machines.folder / f"data/servers/{server.id}.live") as note:
        assert note is not None
        note.write(LeftOver(pid, frozen=True))
    machines.driver.clean_up(go_on)
    assert not agent.frozen
    assert_nothing_is_left(machines, server, runtime)


def test_an_operator_who_sets_no_time_for_it_has_no_agent_asked(
    machines: ImagesCloud, server: Server, agent: FakeAgent, runtime: Path
) -> None:
    driver = type(machines.driver)(
        machines.folder / "data", runtime, replace(machines.options, freeze_limit=timedelta())
    )
    with driver.open_moment(PROJECT, server.id, [server.volumes[0].id]) as moment:
        assert moment.consistency is Consistency.CRASH
    assert agent.told == []


def test_what_an_earlier_client_left_unread_is_skipped(runtime: Path) -> None:
    agent = FakeAgent(runtime / "agent")
    with agent_at(runtime / "agent") as line:
        line._send({"execute": "guest-fsfreeze-status"})
        line.thaw()
    assert agent.told == ["status", "thaw", "status"]
    agent.close()


def test_an_agent_that_is_not_there_is_said(runtime: Path) -> None:
    with pytest.raises(NoAnswer, match="cannot be reached"), agent_at(runtime / "agent"):
        pass
