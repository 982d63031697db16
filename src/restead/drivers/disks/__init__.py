"""Files, block devices and qcow2 images of this machine, opened as disks.

This is no driver but what drivers share: it may be imported by all of them, and knows none.  Every opening is guarded,
locked as QEMU locks, and knows what it can of where its disk was written; docs/drivers.md tells what is never touched.
"""
