"""Dirty bitmaps: where a guest has written since each of the moments that may have become a backup.

    moment 1      moment 2      moment 3
       b1 ──────────▶ b2 ──────────▶ b3 ──────────▶ now

Each bitmap begins in the very transaction of its moment, which also ends the one before: so all from one on tell what
has changed since its moment, without a gap.  A bitmap of a raw disk lives as long as its QEMU; one of a qcow2 image is
stored in it when QEMU ends, goes on in the next one, and is called inconsistent if QEMU did not come to its end.
A name is given once: what has it was never a bitmap of another disk or another moment.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restead.drivers.images.live_disk import PREFIX
from restead.drivers.images.qmp import Command, Monitor

_MOST = 8  # bitmaps of a disk: moments that became no backup leave theirs, and each takes memory
_GENERATION = "bitmap"


@dataclass(frozen=True, slots=True)
class Chain:
    """The bitmaps of a disk at a moment."""

    node: str
    size: int  # bytes of the disk
    names: tuple[str, ...]  # those that tell what has changed since theirs, oldest first
    useless: tuple[str, ...]  # those that tell nothing any more
    new: str  # the moment's own
    persistent: bool  # whether it outlives QEMU

    @property
    def generation(self) -> str:
        """The name of what the disk holds at the moment."""
        return generation_of(self.new, self.size)

    def since(self, generation: str) -> Sequence[str] | None:
        """Return the bitmaps that together tell what has changed since; None if they do not."""
        for place, name in enumerate(self.names):
            if generation_of(name, self.size) == generation:
                return self.names[place:]
        return None

    def beginning(self) -> list[dict[str, object]]:
        """Return the parts of a transaction that begin the new bitmap and end the one before."""
        add = {"node": self.node, "name": self.new, "persistent": self.persistent}
        ended = [_part("disable", self.node, self.names[-1])] if self.names else []
        return [{"type": "block-dirty-bitmap-add", "data": add}, *ended]

    def taking_back(self) -> list[dict[str, object]]:
        """Return the parts of a transaction after which it is as if the moment had never been."""
        if not self.names:
            return [_part("remove", self.node, self.new)]
        last = self.names[-1]
        merge = {"node": self.node, "target": last, "bitmaps": [self.new]}
        return [
            _part("enable", self.node, last),
            {"type": "block-dirty-bitmap-merge", "data": merge},
            _part("remove", self.node, self.new),
        ]


def generation_of(name: str, size: int) -> str:
    """Return what a disk of that size is called at the moment in which that bitmap began."""
    return f"{_GENERATION} {name} {size}"


def chain_of(node: Mapping[str, Any]) -> Chain:
    """Return the bitmaps of a disk before its next moment, by what QEMU says of its node."""
    found = sorted((one for one in node.get("dirty-bitmaps", []) if one.get("name", "").startswith(PREFIX)),
                   key=lambda one: str(one["name"]))  # fmt: skip
    names = tuple(str(one["name"]) for one in found)
    whole = not any(one.get("inconsistent") for one in found)
    # The newest alone records: else somebody has changed that, and there is a gap.
    sound = whole and [bool(one["recording"]) for one in found] == [False] * (len(found) - 1) + [True] * bool(found)
    kept = names[-_MOST + 1 :] if sound else ()
    number = int(names[-1].split("-")[1]) + 1 if names else 1
    return Chain(
        node=node["node-name"], size=int(node["image"]["virtual-size"]), names=kept,
        useless=names[: len(names) - len(kept)], new=f"{PREFIX}{number:08d}-{secrets.token_hex(8)}",
        persistent=_is_qcow2_of_version_3(node),
    )  # fmt: skip


def remove(monitor: Monitor, node: str, names: Sequence[str]) -> None:
    """Remove these bitmaps, from the image too.  Raises NoAnswer."""
    for name in names:
        monitor.ask("block-dirty-bitmap-remove", node=node, name=name)


def transaction(parts: Sequence[Mapping[str, object]]) -> Command:
    return "transaction", {"actions": list(parts)}


def _part(deed: str, node: str, name: str) -> dict[str, object]:
    return {"type": f"block-dirty-bitmap-{deed}", "data": {"node": node, "name": name}}


def _is_qcow2_of_version_3(node: Mapping[str, Any]) -> bool:
    specific = node["image"].get("format-specific", {})
    return bool(specific.get("type") == "qcow2") and bool(specific.get("data", {}).get("compat") != "0.10")
