"""The model of a restore: the complete order ends with all new or all old; without any one rule it does not."""

from dataclasses import fields, replace

import pytest
from tests.repository.restore_model import Rules, explore


def test_with_all_rules_every_history_ends_with_all_or_nothing() -> None:
    """Every state is visited; a model that has become too small to mean anything is noticed too."""
    outcome = explore(Rules())
    assert outcome.story is None
    assert outcome.states >= 10_000


@pytest.mark.parametrize("rule", [field.name for field in fields(Rules)])
def test_each_rule_left_out_is_caught(rule: str) -> None:
    outcome = explore(replace(Rules(), **{rule: False}))
    assert outcome.story is not None
    print(f"without {rule}: " + "; ".join(outcome.story))
