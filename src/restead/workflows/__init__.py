"""The stories: how a backup is made, a server comes back, a backup goes.  One file each.

`durable.py` is the engine that tells them to their end over crashes and restarts.
"""

from collections.abc import Mapping
from datetime import timedelta

from restead.domain.quota import QuotaLimits
from restead.domain.run import RunKind
from restead.ports import Servers, Volumes
from restead.records import Records
from restead.repository import Repository
from restead.workflows.backup import BackupStory
from restead.workflows.collect import Collecting
from restead.workflows.comparing import Comparer
from restead.workflows.durable import Engine
from restead.workflows.expire import DeleteStory
from restead.workflows.holding import HoldKeeper
from restead.workflows.jumps import Jumps
from restead.workflows.log_retention import LogRetention
from restead.workflows.notify import Deliverer, Heeded, Reaching, Router
from restead.workflows.policy_retention import PolicyRetention
from restead.workflows.restore import RestoreStory
from restead.workflows.retention import SafetyRetention
from restead.workflows.schedule import Scheduler
from restead.workflows.service_copy import CopyKeeper
from restead.workflows.story import Story

__all__ = ["Collecting", "Comparer", "CopyKeeper", "Deliverer", "Engine", "Heeded", "HoldKeeper", "Jumps",
           "LogRetention", "PolicyRetention", "Reaching", "Router", "SafetyRetention", "Scheduler",
           "stories"]  # fmt: skip


def stories(
    records: Records,
    repository: Repository,
    servers: Servers,
    volumes: Volumes,
    *,
    grace: timedelta = timedelta(seconds=60),
    look_every: timedelta = timedelta(seconds=0.5),
    progress_every: timedelta = timedelta(minutes=5),
    quotas: QuotaLimits = QuotaLimits(),
    nice: int = 0,
) -> Mapping[RunKind, Story]:
    """Return the story of every kind of run.

    *grace*: how long a server is asked politely to stop.  *look_every*: how often a restore, or a backup, looks
    whether somebody has cancelled or throttled it.  *progress_every*: how much of a backup's work a crash can cost;
    zero: all of it.  *quotas*: of projects that have none of their own.  *nice*: how much nicer than this process the
    threads are that save disks of running servers.
    """
    return {
        RunKind.BACKUP: BackupStory(
            records, repository, servers, volumes, progress_every, look_every=look_every, quotas=quotas, nice=nice
        ),
        RunKind.RESTORE: RestoreStory(records, repository, servers, volumes, grace=grace, look_every=look_every),
        RunKind.DELETE: DeleteStory(records, repository),
    }
