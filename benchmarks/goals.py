"""What restead is expected to reach on two cores, as ratios within one run."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contest import Contest, Score
from benchmarks.crowd import Crowd
from benchmarks.steps import Step

LEAST_SIZE = 2 << 30  # bytes of a disk: on smaller ones the start of a process outweighs the work
_MIB = 1 << 20
_PEAK = 150  # MiB: most memory any step may take
_SPEED = {  # kind: step: peer: times as fast, at least
    "sys": {
        Step.FULL: {"restic": 4.0, "borg": 2.0},
        Step.SECOND: {"restic": 5.0, "borg": 3.5},
        Step.RESTORE: {"restic": 2.3, "borg": 4.0, "cp": 0.75},
    },
    "db": {
        Step.FULL: {"restic": 2.7, "borg": 2.7},
        Step.SECOND: {"restic": 4.0, "borg": 3.5},
        Step.RESTORE: {"restic": 2.3, "borg": 4.0, "cp": 0.75},
    },
}
_PEERS = {"restic": ("restic",), "borg": ("borg 1M", "borg 256K"), "cp": ("cp",)}  # the faster one counts
_OVER = 2.0  # in place by hashing: times as fast as restic's full restore, or
_OF_READING = 0.6  # of the speed at which the target can be read
_HINTED = {Step.HINTED: 10.0, Step.HINTED_BARE: 15.0}  # times as fast as restic's full restore
_WRITTEN = 1.02  # of the bytes in 4 KiB pieces that differ
_SAFETY = 1.3  # seconds with a safety copy by seconds without
_CROWD = 1024  # MiB: most memory that all restores at once may take


@dataclass(frozen=True, slots=True)
class Verdict:
    reached: bool
    text: str


def judge(contest: Contest) -> Iterator[Verdict]:
    """Yield what was reached and what was not; peers that were not there are left out."""
    ours = contest.scores["restead"]
    for step, peers in _SPEED[contest.kind].items():
        for peer, least in peers.items():
            theirs = [s for name in _PEERS[peer] if (s := _score(contest, name).seconds(step)) is not None]
            yield from _judge_speed(ours, step, f"{peer}", min(theirs, default=None), least)
    yield from _judge_over(contest, ours)
    yield from _judge_sizes(ours, _score(contest, "restic"))
    peak = max((cost.peak for costs in ours.costs.values() for cost in costs), default=0) / _MIB
    yield Verdict(peak <= _PEAK, f"peak memory {peak:.0f} MiB, expected at most {_PEAK}")


def judge_crowd(crowd: Crowd) -> Verdict:
    """Return whether many restores at once stay small; what was not at once proves nothing."""
    peak = crowd.cost.peak / _MIB
    text = f"peak memory of a service with {crowd.at_once} restores at once {peak:.0f} MiB, expected at most {_CROWD}"
    return Verdict(peak <= _CROWD and crowd.at_once == crowd.servers, text)


def _score(contest: Contest, name: str) -> Score:
    return contest.scores.get(name) or Score()


def _judge_speed(ours: Score, step: Step, peer: str, theirs: float | None, least: float) -> Iterator[Verdict]:
    mine = ours.seconds(step)
    if theirs and mine:
        yield Verdict(theirs / mine >= least, f"{step}: {theirs / mine:.2f} × as fast as {peer}, expected {least:g} ×")


def _judge_over(contest: Contest, ours: Score) -> Iterator[Verdict]:
    """Restores in place are compared with restic's full restore, which is what its users do instead."""
    restic = _score(contest, "restic").seconds(Step.RESTORE)
    yield from _judge_hashing(ours, restic, _score(contest, "dd").seconds(Step.READ))
    for step, least in _HINTED.items():
        yield from _judge_speed(ours, step, "restic's full restore", restic, least)
    for step in (Step.OVER, Step.HINTED):
        if (written := ours.written(step)) is not None:
            ratio = written / contest.differing[step]
            text = f"{step}: wrote {ratio:.3f} of the 4 KiB pieces that differ, expected at most {_WRITTEN}"
            yield Verdict(ratio <= _WRITTEN, text)
    with_safety, bare = ours.seconds(Step.OVER), ours.seconds(Step.OVER_BARE)
    if with_safety and bare:
        cost = with_safety / bare
        text = f"{Step.OVER}: the safety copy costs {cost - 1:.0%} of the time, expected at most {_SAFETY - 1:.0%}"
        yield Verdict(cost <= _SAFETY, text)


def _judge_hashing(ours: Score, restic: float | None, reading: float | None) -> Iterator[Verdict]:
    mine = ours.seconds(Step.OVER)
    if not mine or not (restic and reading):
        return
    faster, share = restic / mine, reading / mine
    yield Verdict(
        faster >= _OVER or share >= _OF_READING,
        f"{Step.OVER}: {faster:.2f} × as fast as restic's full restore and {share:.0%} of the target's read speed, "
        f"expected {_OVER:g} × or {_OF_READING:.0%}",
    )


def _judge_sizes(ours: Score, restic: Score) -> Iterator[Verdict]:
    for what, mine, theirs, most in (
        ("stored by the full backup", ours.repository(), restic.repository(), 1.05),
        ("stored by the second", ours.added(), restic.added(), 0.5),
    ):
        if mine is not None and theirs:
            yield Verdict(mine <= most * theirs, f"{what}: {mine / theirs:.2f} of restic's, expected at most {most:g}")
