"""Servers that are the domains of a libvirt connection.

Their disks are files and block devices of this machine.  docs/drivers.md tells how it works and what it never touches.
"""

from restead.drivers.libvirt.driver import LibvirtDriver
from restead.drivers.libvirt.options import LibvirtOptions

__all__ = ["LibvirtDriver", "LibvirtOptions"]
