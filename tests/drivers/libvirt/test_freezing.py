"""File systems at rest: what happens with guests whose agents answer, refuse, hang, and die."""

import pytest

from restead.domain.errors import Unavailable
from restead.drivers.libvirt.freezing import freeze, thaw

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")

_CONNECTED = """<domain><devices><channel>
<target type='virtio' name='org.qemu.guest_agent.0' state='{state}'/></channel></devices></domain>"""


class Guest:
    """A domain of which nobody but its agent is asked; it fails as often as is said."""

    def __init__(
        self, state: str = "connected", freezes: bool = True, thaw_fails: int = 0, answers: int = libvirt.VIR_ERR_OK
    ) -> None:
        """*answers*: libvirt's code about a question that changes nothing."""
        self.state, self.freezes, self.thaw_fails, self.answers = state, freezes, thaw_fails, answers
        self.active, self.frozen, self.limit = True, False, 0

    def XMLDesc(self, flags: int) -> str:
        return _CONNECTED.format(state=self.state)

    def UUIDString(self) -> str:
        return "some-id"

    def isActive(self) -> bool:
        return self.active

    def agentSetResponseTimeout(self, limit: int) -> None:
        self.limit = limit

    def getTime(self) -> dict[str, int]:
        if self.answers != libvirt.VIR_ERR_OK:
            error = libvirt.libvirtError("the agent did not answer")
            error.err = (self.answers, 0, "", 0, "", "", "", 0, 0)
            raise error
        return {}

    def fsFreeze(self) -> None:
        self.frozen = True  # also if it does not say so in time
        if not self.freezes:
            raise libvirt.libvirtError("the agent did not answer")

    def fsThaw(self) -> None:
        if self.thaw_fails:
            self.thaw_fails -= 1
            raise libvirt.libvirtError("the agent did not answer")
        self.frozen = False


@pytest.fixture
def notes() -> list[bool]:
    return []


def test_a_guest_whose_agent_answers_is_frozen_and_thawed(notes: list[bool]) -> None:
    """That it may be frozen is noted before it is."""
    guest = Guest()
    assert freeze(guest, 7, lambda frozen: notes.append((frozen, guest.frozen)))
    assert (guest.frozen, guest.limit, notes) == (True, 7, [(True, False)])
    thaw(guest, 5)
    assert not guest.frozen


@pytest.mark.parametrize("state", ["disconnected", ""])
def test_a_guest_without_an_agent_is_not_asked(state: str, notes: list[bool]) -> None:
    guest = Guest(state)
    assert not freeze(guest, 7, notes.append)
    assert (guest.limit, notes) == (0, [])


def test_a_guest_whose_agent_is_deaf_is_not_asked_to_freeze(notes: list[bool]) -> None:
    """Nobody could be sure afterwards that it is not frozen.  One that only cannot tell the time is asked."""
    guest = Guest(answers=libvirt.VIR_ERR_AGENT_UNRESPONSIVE)
    assert not freeze(guest, 7, notes.append)
    assert (guest.frozen, notes) == (False, [])
    assert freeze(Guest(answers=libvirt.VIR_ERR_OPERATION_UNSUPPORTED), 7, notes.append)


def test_a_guest_that_does_not_say_it_is_frozen_is_thawed(notes: list[bool]) -> None:
    guest = Guest(freezes=False)
    assert not freeze(guest, 7, notes.append)
    assert (guest.frozen, notes) == (False, [True, False])


def test_a_guest_that_does_not_thaw_stays_noted(notes: list[bool]) -> None:
    """Whoever closes the backup thaws it."""
    guest = Guest(freezes=False, thaw_fails=1)
    assert not freeze(guest, 7, notes.append)
    assert (guest.frozen, notes) == (True, [True])
    thaw(guest, 5)
    assert not guest.frozen


def test_thawing_is_tried_again_and_then_said() -> None:
    guest = Guest(thaw_fails=3)
    thaw(guest, 60)
    assert guest.thaw_fails == 0
    with pytest.raises(Unavailable, match="virsh domfsthaw"):
        thaw(Guest(thaw_fails=1000), 0.5)


def test_a_domain_that_has_ended_has_nothing_frozen() -> None:
    guest = Guest(thaw_fails=1000)
    guest.active = False
    thaw(guest, 5)
