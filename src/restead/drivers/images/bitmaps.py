"""Dirty bitmaps in a running QEMU: begun, ended and read back at moments; `bitmap_rules.py` says what they tell."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restead.drivers.disks.bitmap_rules import PREFIX, Found, believed, generation_of, number_in, since
from restead.drivers.images.qmp import Command, Monitor


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
        return since(self.names, self.size, generation)

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


def chain_of(node: Mapping[str, Any]) -> Chain:
    """Return the bitmaps of a disk before its next moment, by what QEMU says of its node."""
    found = [
        Found(str(one.get("name", "")), bool(one["recording"]), bool(one.get("inconsistent")))
        for one in node.get("dirty-bitmaps", [])
    ]
    names = sorted(one.name for one in found if number_in(one.name))
    kept = believed(found)
    number = number_in(names[-1]) + 1 if names else 1
    return Chain(
        node=node["node-name"], size=int(node["image"]["virtual-size"]), names=kept,
        useless=tuple(names[: len(names) - len(kept)]), new=f"{PREFIX}{number:08d}-{secrets.token_hex(8)}",
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
