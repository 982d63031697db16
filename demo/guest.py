"""What the server says on its serial line."""

import time
from dataclasses import dataclass
from pathlib import Path

from demo.stage import prove


@dataclass(frozen=True, slots=True)
class Report:
    """What the guest tells after it has booted."""

    marker: str  # text that it read from its system disk
    boots: int  # counter on its system disk, which it raised by one
    checksum: str  # of its whole data disk, which it read


class SerialLine:
    """The log of a server's first serial line; each boot is read from where the one before ended."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._from = 0

    def begin(self) -> None:
        """From here on a new boot is meant."""
        self._from = self._log.stat().st_size if self._log.exists() else 0

    def said(self) -> str:
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode("ascii", "replace")

    def await_word(self, word: str, seconds: float) -> float | None:
        """Return how long it took until *word* was said, None if it was not within that time."""
        began = time.monotonic()
        while word not in self.said():
            if time.monotonic() - began > seconds:
                return None
            time.sleep(0.02)
        return time.monotonic() - began

    def report(self, seconds: float) -> Report:
        """Return the guest's report; it has *seconds* to read its whole data disk."""
        reported = self.await_word("MG-READY", seconds) is not None
        why = f"the guest did not report within {seconds:g} s; on a busy machine try again when it is quieter"
        prove(reported, f"{why} (KEEP=1 keeps the folder; its serial line is in {self._log})")
        lines = dict(
            line.split(" ", 1) for line in self.said().splitlines() if line.startswith("MG-") and " " in line
        )
        return Report(lines["MG-MARKER"], int(lines["MG-BOOT"], 16), lines["MG-DATA"])
