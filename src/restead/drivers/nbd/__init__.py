"""A client for NBD servers (`qemu-nbd`, a running QEMU's exports, nbdkit): disks that another process serves.

This is no driver but what drivers share: it may be imported by all of them, and knows none.  `NbdClient` is a
`BlockTarget` (a `BlockSource` where the server writes nothing) over a connected socket.
"""

from restead.drivers.nbd.client import NbdClient

__all__ = ["NbdClient"]
