"""Servers whose disks are raw files, block devices or qcow2 images on this machine.

Their power is a QEMU process that we manage, a command that the operator names, or nobody's.  docs/drivers.md tells
how it works and what it never touches.
"""

from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.images.accel import Accel
from restead.drivers.images.definition import Power, ServerDefinition, disk_from_text
from restead.drivers.images.driver import ImagesDriver, ImagesOptions
from restead.drivers.images.fresh import NewImage

__all__ = [
    "Accel", "DiskDefinition", "ImagesDriver", "ImagesOptions", "NewImage", "Power", "ServerDefinition",
    "disk_from_text",
]  # fmt: skip
