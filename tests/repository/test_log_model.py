"""The model of the log: complete rules lose nothing, and each rule left out loses data."""

from dataclasses import fields, replace

import pytest
from tests.repository.log_model import Rules, Scenario, explore

ONE = Scenario(writers=1)
TWO = Scenario(writers=2)
TWO_COLLECTORS = Scenario(writers=1, collectors=2)
RESTORE = Scenario(writers=1, restorer=True)
PROGRESS = Scenario(writers=2, progress=True)
REAPPEAR = Scenario(writers=2, reappear=True)

# The smallest scenario in which a rule is missed.
LEFT_OUT = {
    "view_after_open": ONE,
    "condemned_are_absent": ONE,
    "condemned_for_ever": ONE,
    "pack_after_open": ONE,
    "index_after_pack": TWO,
    "trust_only_reads": ONE,
    "void_open": ONE,
    "reads_are_needed": ONE,
    "void_commit": ONE,
    "void_second_commit": TWO,
    "void_progress": PROGRESS,
    "progress_is_needed": PROGRESS,
    "pins_outlive_end": RESTORE,
    "wait": ONE,
    "wait_for_open_at_condemn": ONE,
    "mark_again": ONE,
    "copy": ONE,
    "no_holder_in_any_list": TWO_COLLECTORS,
}


@pytest.mark.parametrize(
    ("scenario", "least"),
    [(TWO, 100_000), (TWO_COLLECTORS, 50_000), (RESTORE, 14_000), (PROGRESS, 150_000), (REAPPEAR, 120_000)],
)
def test_with_all_rules_nothing_is_lost(scenario: Scenario, least: int) -> None:
    """Every state is visited; a model that has become too small to mean anything is noticed too."""
    outcome = explore(scenario, Rules())
    assert outcome.loss is None
    assert outcome.states >= least


@pytest.mark.parametrize("rule", [field.name for field in fields(Rules)])
def test_each_rule_left_out_loses_data(rule: str) -> None:
    outcome = explore(LEFT_OUT[rule], replace(Rules(), **{rule: False}))
    assert outcome.loss is not None
    print(f"without {rule}: " + "; ".join(outcome.loss))
