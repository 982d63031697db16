"""A wall clock that is wrong, for processes of a test alone; the machine's own is never touched.

    clock = WrongClock(tmp_path)
    subprocess.Popen(…, env={**environment, **clock.environment})
    clock.set(forward=5 * 365 * 86400)
"""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("wrong_clock.c")


class WrongClock:
    def __init__(self, folder: Path) -> None:
        """Skips the test where nothing can be compiled."""
        if shutil.which("gcc") is None:
            pytest.skip("gcc is not installed")
        library = folder / "wrong_clock.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE)], check=True)
        self._file = folder / "wrong_by"
        self.set(forward=0)
        self.environment = {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(self._file)}

    def set(self, *, forward: int) -> None:
        """Let it be *forward* seconds ahead of the true time, behind it if that is negative."""
        with self._file.open("r+b" if self._file.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", forward))
