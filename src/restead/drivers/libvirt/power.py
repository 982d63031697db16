"""The power of a domain, and what libvirt's words for its state mean to us."""

import time
from datetime import timedelta
from typing import Any

from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.server import ServerStatus
from restead.drivers.libvirt.connection import is_error, library, translated

_LOOK_EVERY = 0.1  # seconds
_ASK_MOST = 16.0  # seconds between two presses of the power button


def status_of(domain: Any) -> ServerStatus:
    """Return what the domain is doing.  Raises Unavailable."""
    libvirt = library()
    with translated(f"state of domain {domain.name()}"):
        state, reason = domain.state()
        saved = state == libvirt.VIR_DOMAIN_SHUTOFF and bool(domain.isPersistent()) and _saved(domain)
    if state == libvirt.VIR_DOMAIN_PAUSED:
        passing = (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_SAVE, libvirt.VIR_DOMAIN_PAUSED_DUMP)
        return ServerStatus.BUSY if reason in passing else ServerStatus.RUNNING
    if saved:  # what its memory holds of the disks will be believed at the next start, whatever they hold then
        return ServerStatus.BUSY
    return {
        libvirt.VIR_DOMAIN_RUNNING: ServerStatus.RUNNING, libvirt.VIR_DOMAIN_BLOCKED: ServerStatus.RUNNING,
        libvirt.VIR_DOMAIN_PMSUSPENDED: ServerStatus.RUNNING, libvirt.VIR_DOMAIN_SHUTDOWN: ServerStatus.BUSY,
        libvirt.VIR_DOMAIN_SHUTOFF: ServerStatus.STOPPED,
        libvirt.VIR_DOMAIN_CRASHED: ServerStatus.ERROR if domain.isActive() else ServerStatus.STOPPED,
    }.get(state, ServerStatus.ERROR)  # fmt: skip


def require_stopped(domain: Any) -> None:
    """Return if the domain does not run and has no saved memory.  Raises Unavailable."""
    with translated(f"state of domain {domain.name()}"):
        if domain.isActive():
            raise Unavailable(f"server {domain.UUIDString()} is running; its disks open when it is stopped")
        if domain.isPersistent() and _saved(domain):
            raise Unavailable(f"server {domain.UUIDString()} has a saved memory, which fits what its disks hold now "
                              "and nothing else: start it, or remove that (virsh managedsave-remove)")


def start(domain: Any) -> None:
    """Return when the domain runs; one that is paused goes on.  Raises Unavailable, with libvirt's reason."""
    libvirt = library()
    with translated(f"server {domain.UUIDString()} was not started"):
        if not domain.isActive():
            _create(domain)
        state, _ = domain.state()
        if state == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        elif state == libvirt.VIR_DOMAIN_PMSUSPENDED:
            domain.pMWakeup()
        state, reason = domain.state()
    if state not in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED):
        raise Unavailable(f"server {domain.UUIDString()} is in libvirt's state {state} for reason {reason} after it "
                          "was started")


def stop(domain: Any, grace: timedelta) -> None:
    """Return when the domain is stopped: the power button is pressed again and again, until *grace* is over.

    Raises:
        InvalidRequest: it would be gone with that, because it was never defined.
        Unavailable: it is not stopped, with libvirt's reason.
    """
    with translated(f"server {domain.UUIDString()} was not stopped"):
        if not domain.isActive():
            return
        if not domain.isPersistent():
            raise InvalidRequest(f"server {domain.UUIDString()} is transient: stopped, it would be gone (virsh define)")
        if not _obeys(domain, grace):
            _destroy(domain)
        if domain.isActive():
            raise Unavailable(f"server {domain.UUIDString()} is running after it was forced to stop")


def _obeys(domain: Any, grace: timedelta) -> bool:
    """Ask politely, again after 1, 2, 4 … seconds: a guest that is still booting does not notice."""
    libvirt = library()
    until, wait = time.monotonic() + grace.total_seconds(), 1.0
    ask_at = time.monotonic()
    while time.monotonic() < until:
        if time.monotonic() >= ask_at:
            try:
                domain.shutdown()
            except libvirt.libvirtError as error:
                if not is_error(error, "VIR_ERR_OPERATION_INVALID", "VIR_ERR_AGENT_UNRESPONSIVE"):
                    raise
            ask_at, wait = ask_at + wait, min(2 * wait, _ASK_MOST)
        if not domain.isActive():
            return True
        time.sleep(min(_LOOK_EVERY, max(0.0, until - time.monotonic())))
    return not domain.isActive()


def _create(domain: Any) -> None:
    libvirt = library()
    try:
        try:
            domain.create()
        except libvirt.libvirtError as error:
            # libvirt may hear late of the end of a QEMU that it could not start before, and take it for this one's.
            if not is_error(error, "VIR_ERR_OPERATION_FAILED") or domain.isActive():
                raise
            domain.create()
    except libvirt.libvirtError as error:
        if not (is_error(error, "VIR_ERR_OPERATION_INVALID") and domain.isActive()):  # somebody else was faster
            raise


def _destroy(domain: Any) -> None:
    libvirt = library()
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if not (is_error(error, "VIR_ERR_OPERATION_INVALID") and not domain.isActive()):  # it stopped by itself
            raise


def _saved(domain: Any) -> bool:
    libvirt = library()
    try:
        return bool(domain.hasManagedSaveImage())
    except libvirt.libvirtError as error:
        if is_error(error, "VIR_ERR_NO_SUPPORT"):
            return False
        raise
