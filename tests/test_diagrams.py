"""The state diagrams in docs/design.md are those of the tables in the code."""

from enum import StrEnum
from pathlib import Path

from restead.domain import states

DESIGN = Path(__file__).parent.parent / "docs" / "design.md"


def diagram(table: dict[tuple[states.State, states.Event], states.State]) -> str:
    """Return a state table as a Mermaid diagram, in the order of the table."""
    lines = [f"    {state} --> {after}: {event}" for (state, event), after in table.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {_first(table)}", *lines, "```"])


def _first(table: dict[tuple[states.State, states.Event], states.State]) -> StrEnum:
    return next(iter(table))[0]


def test_the_diagrams_are_those_of_the_tables() -> None:
    """docs/design.md shows every transition that can happen and none that cannot."""
    text = DESIGN.read_text()
    for name in ("BACKUP", "RESTORE", "PHASE", "VOLUME", "OPERATION", "DELIVERY"):
        assert diagram(getattr(states, name)) in text, f"docs/design.md lacks\n{diagram(getattr(states, name))}"


def test_no_state_but_the_last_is_a_dead_end() -> None:
    """Whatever happens, a thing comes to an end that its owner can act on."""
    ends = {"deleted", "success", "fail", "ended", "put_back", "untouched", "damaged", "failed", "skipped",
            "sent"}  # fmt: skip
    for table in (states.BACKUP, states.RESTORE, states.PHASE, states.VOLUME, states.OPERATION,
                  states.DELIVERY):  # fmt: skip
        sources = {state for state, _ in table}
        assert {str(after) for after in table.values() if after not in sources} <= ends
