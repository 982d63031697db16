"""Bringing a guest's file systems to rest for a moment, by its agent."""

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from restead.domain.errors import Unavailable
from restead.drivers.libvirt.connection import is_error, library

_CHANNEL = "org.qemu.guest_agent.0"


def freeze(domain: Any, limit: int, noted: Callable[[bool], None]) -> bool:
    """Freeze the guest's file systems; tell whether they are.

    *noted*: told True before it is tried, and False if nothing is frozen after all.  A guest without an agent, with one
    that does not answer within *limit* seconds, or that refuses, is not frozen: whatever of it may be is thawed.
    """
    libvirt = library()
    if not has_agent(domain) or not _answers(domain, limit):
        return False
    noted(True)
    try:
        domain.fsFreeze()
    except libvirt.libvirtError:
        if thawed(domain):
            noted(False)
        return False
    return True


def thaw(domain: Any, limit: float) -> None:
    """Return when the file systems are thawed, asking again for *limit* seconds.  Raises Unavailable."""
    until = time.monotonic() + limit
    while not thawed(domain):
        if time.monotonic() > until:
            raise Unavailable(f"server {domain.UUIDString()}: its file systems were frozen for a backup, and its agent "
                              f"does not thaw them for {limit:g} s: virsh domfsthaw")
        time.sleep(0.2)


def thawed(domain: Any) -> bool:
    """Ask once; tell whether nothing is frozen: a domain that has ended has nothing that is."""
    libvirt = library()
    try:
        domain.fsThaw()
    except libvirt.libvirtError:
        try:
            return not domain.isActive()
        except libvirt.libvirtError:
            return False
    return True


def _answers(domain: Any, limit: int) -> bool:
    """Tell whether the agent answers at all: one that is deaf could not be asked to thaw either, to be sure."""
    libvirt = library()
    try:
        domain.agentSetResponseTimeout(limit)
        domain.getTime()
    except libvirt.libvirtError as error:
        return not is_error(error, "VIR_ERR_AGENT_UNRESPONSIVE", "VIR_ERR_AGENT_COMMAND_TIMEOUT")
    return True


def has_agent(domain: Any) -> bool:
    """Tell whether an agent has opened its end of the channel."""
    root = ET.fromstring(domain.XMLDesc(0))
    target = root.find(f"devices/channel/target[@name='{_CHANNEL}']")
    return target is not None and target.get("state") == "connected"
