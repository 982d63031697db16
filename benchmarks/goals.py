"""What restead is expected to reach on two cores, as ratios within one run."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contest import Contest, Score, Step

LEAST_SIZE = 2 << 30  # bytes of a disk: on smaller ones the start of a process outweighs the work
_PEAK = 150  # MiB: most memory any step may take
_SPEED = {  # kind: step: peer: times as fast, at least
    "sys": {
        Step.FULL: {"restic": 4.0, "borg": 2.0},
        Step.SECOND: {"restic": 5.0, "borg": 3.5},
        Step.RESTORE: {"restic": 2.3, "borg": 4.0, "copy": 0.75},
    },
    "db": {
        Step.FULL: {"restic": 2.7, "borg": 2.7},
        Step.SECOND: {"restic": 4.0, "borg": 3.5},
        Step.RESTORE: {"restic": 2.3, "borg": 4.0, "copy": 0.75},
    },
}
_PEERS = {"restic": ("restic",), "borg": ("borg 1M", "borg 256K"), "copy": ("cp", "dd")}  # the faster one counts


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
            mine = ours.seconds(step)
            if theirs and mine:
                ratio = min(theirs) / mine
                yield Verdict(ratio >= least, f"{step}: {ratio:.2f} × as fast as {peer}, expected {least:g} ×")
    yield from _judge_sizes(ours, _score(contest, "restic"))
    peak = max((cost.peak for costs in ours.costs.values() for cost in costs), default=0) / (1 << 20)
    yield Verdict(peak <= _PEAK, f"peak memory {peak:.0f} MiB, expected at most {_PEAK}")


def _score(contest: Contest, name: str) -> Score:
    return contest.scores.get(name) or Score()


def _judge_sizes(ours: Score, restic: Score) -> Iterator[Verdict]:
    for what, mine, theirs, most in (
        ("stored by the full backup", ours.repository(), restic.repository(), 1.05),
        ("stored by the second", ours.added(), restic.added(), 0.5),
    ):
        if mine is not None and theirs:
            yield Verdict(mine <= most * theirs, f"{what}: {mine / theirs:.2f} of restic's, expected at most {most:g}")
