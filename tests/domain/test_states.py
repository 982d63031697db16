"""The state machines: what can happen, and that nothing else can."""

import itertools

import pytest

from restead.domain.states import (
    BACKUP,
    PHASE,
    RESTORE,
    VOLUME,
    BackupState,
    Event,
    IllegalTransition,
    RestorePhase,
    RestoreState,
    VolumeOutcome,
    after,
    checkpoint_state,
)

_B = BackupState


@pytest.mark.parametrize(
    ("table", "states"),
    [(BACKUP, BackupState), (RESTORE, RestoreState), (PHASE, RestorePhase), (VOLUME, VolumeOutcome)],
)
def test_what_is_not_in_a_table_is_refused(table: dict, states: type) -> None:
    for state, event in itertools.product(states, Event):
        if (state, event) in table:
            assert after(table, state, event) is table[state, event]
        else:
            with pytest.raises(IllegalTransition):
                after(table, state, event)


def test_every_state_but_the_last_ones_has_a_way_out() -> None:
    """Nothing stays open for ever."""
    for table, states, last in (
        (BACKUP, BackupState, {_B.DELETED}),
        (RESTORE, RestoreState, {RestoreState.SUCCESS, RestoreState.FAIL}),
        (PHASE, RestorePhase, {RestorePhase.ENDED}),
    ):
        assert {state for state, _ in table} == set(states) - last


@pytest.mark.parametrize(
    ("backups", "expected"),
    [
        ([_B.PROTECTING, _B.AVAILABLE], _B.PROTECTING),
        ([_B.AVAILABLE, _B.ERROR], _B.AVAILABLE),
        ([_B.RESTORING, _B.ERROR], _B.AVAILABLE),
        ([_B.ERROR, _B.DELETED], _B.ERROR),
        ([_B.DELETING, _B.AVAILABLE], _B.DELETING),
        ([_B.DELETED, _B.DELETED], _B.DELETED),
        ([_B.DELETED, _B.AVAILABLE], _B.AVAILABLE),
    ],
)
def test_a_checkpoint_is_what_its_backups_are(backups: list[BackupState], expected: BackupState) -> None:
    assert checkpoint_state(backups) is expected
