"""The demonstration: a server is backed up, destroyed and brought back, and every step is proven.

`make demo` runs it.  It needs nothing but this folder's virtual environment, QEMU if the server shall boot, and
e2fsprogs if its data disk shall hold a real file system; it says what it leaves out where they are missing.
"""
