"""The tables.  Everything a list filters or sorts by is a column with an index; what is only kept is JSON.

Ids of servers and disks stand twice: as the cloud wrote them inside the JSON, and in the form that compares
(`domain.ids.canonical_id`) in columns that end in `_key`.  Times are aware UTC.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Time(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime with microseconds.  SQLite keeps no zone, so it is taken off and put on here."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _flag(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.Boolean, nullable=False)


def _text(name: str, *, null: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.Text, nullable=null)


def _id(name: str = "id") -> "sa.Column[object]":
    return sa.Column(name, sa.Text, primary_key=True)


def _bytes(name: str, *, null: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.BigInteger, nullable=null)


def _time(name: str, *, null: bool = False) -> "sa.Column[object]":
    return sa.Column(name, Time, nullable=null)


def _json(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.JSON, nullable=False)


def _parent(name: str, target: str) -> "sa.Column[object]":
    return sa.Column(name, sa.Text, sa.ForeignKey(target), nullable=False)


def _number(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.Integer, nullable=False)


checkpoints = sa.Table(
    "checkpoints", metadata,
    _id(), _text("project_id"), _text("state"), _time("created_at"), _time("updated_at"),
    _text("plan_id"), _text("plan_name"), _json("servers"), _text("extra_info", null=True),
    sa.Index(None, "project_id", "created_at", "id"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "project_id", "id"),
    sa.Index(None, "project_id", "state", "id"),
    sa.Index(None, "project_id", "state", "created_at", "id"),
    sa.Index(None, "project_id", "plan_id", "created_at", "id"),
    sa.Index(None, "plan_id"),
    sa.Index(None, "state", "created_at", "id"),
    sa.Index(None, "state", "id"),
)  # fmt: skip

backups = sa.Table(
    "backups", metadata,
    _id(), _parent("checkpoint_id", "checkpoints.id"), _text("project_id"), _text("state"),
    _time("created_at"), _time("updated_at"), _time("protected_at", null=True), _time("finished_at", null=True),
    _text("name"), _text("name_folded"), _text("description"),
    _text("server_key"), _text("server_name_folded"), _text("zone"), _text("private_address"), _text("public_address"),
    _json("server"), _text("run_id"), _flag("full"), _text("consistency_wanted"), _text("consistency"),
    _json("excluded"), _json("tags"), _number("progress"), _flag("auto_trigger"),
    _text("failed_operation"), _text("failure_code", null=True), _text("failure_message", null=True),
    _text("safety_of", null=True), _time("held_until", null=True), _bytes("guest_pause_us", null=True),
    _text("policy_id", null=True), _time("scheduled_at", null=True),
    _bytes("stored"), _time("protected_or_never"),  # of all its disks; never NULL, to sort by
    # Every condition of a list is in it, so what a page does not show is passed over without a look at its row.
    sa.Index("ix_backups_listing", "project_id", "created_at", "id", "state", "name_folded", "server_name_folded",
             "zone", "private_address", "public_address", "checkpoint_id", "server_key", "name"),
    sa.Index("ix_backups_usage", "project_id", "state", "safety_of", "stored"),
    sa.Index("ix_backups_everywhere", "created_at", "id", "state", "name_folded", "server_name_folded", "zone",
             "private_address", "public_address"),  # the same, of all projects
    sa.Index(None, "server_key", "created_at", "id"),
    sa.Index(None, "safety_of"),
    sa.Index(None, "held_until"),
    sa.Index(None, "checkpoint_id"),
    sa.Index(None, "project_id", "id"),
    sa.Index(None, "project_id", "updated_at", "id"),
    sa.Index(None, "project_id", "protected_or_never", "id"),
    sa.Index(None, "project_id", "name", "id"),
    sa.Index(None, "project_id", "state", "id"),
    sa.Index(None, "project_id", "state", "created_at", "id"),
    sa.Index(None, "project_id", "server_key", "created_at", "id"),
    sa.Index(None, "policy_id", "finished_at", "scheduled_at"),
    sa.Index(None, "updated_at", "id"),
    sa.Index(None, "protected_or_never", "id"),
    sa.Index(None, "name", "id"),
    sa.Index(None, "state", "id"),
    # One backup of a server at a time, whatever the code above believes.
    sa.Index("uq_backups_under_way", "project_id", "server_key", unique=True,
             sqlite_where=sa.text("state = 'protecting'"), postgresql_where=sa.text("state = 'protecting'")),
)  # fmt: skip

backup_counts = sa.Table(
    "backup_counts", metadata,
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    _bytes("number"),  # of backups in that state; none of deleted ones
)  # fmt: skip

backup_traits = sa.Table(
    "backup_traits", metadata,
    sa.Column("trait", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, primary_key=True),
)  # fmt: skip

volume_backups = sa.Table(
    "volume_backups", metadata,
    _id(), _parent("backup_id", "backups.id"), _number("ordinal"), _text("name"), _text("state"),
    _text("volume_id"), _text("volume_key"), _text("volume_name"), _bytes("size"), _flag("bootable"),
    _flag("incremental"), _bytes("stored"), _bytes("read"), _bytes("bytes_per_second"),
    _text("snapshot_id", null=True), _text("manifest", null=True),
    sa.Index(None, "backup_id", "ordinal"),
    sa.Index(None, "volume_key"),
)  # fmt: skip

restores = sa.Table(
    "restores", metadata,
    _id(), _text("project_id"), _text("state"), _time("created_at"), _time("updated_at"),
    _time("finished_at", null=True), _text("checkpoint_id"), _parent("backup_id", "backups.id"), _text("server_key"),
    _text("run_id"), _json("request"), _json("plan"), _json("stats"), _number("progress"), _text("server_reason"),
    _text("failure_code", null=True), _text("failure_message", null=True),
    _text("phase"), _bytes("session", null=True), _text("safety_checkpoint_id", null=True),
    _text("undo_of", null=True), _flag("cancelled"), _bytes("throttle", null=True),
    sa.Index(None, "safety_checkpoint_id"),
    sa.Index("ix_restores_listing", "project_id", "created_at", "id", "checkpoint_id", "backup_id"),
    sa.Index(None, "project_id", "id"),
    sa.Index(None, "project_id", "updated_at", "id"),
    sa.Index(None, "project_id", "state", "id"),
    sa.Index(None, "project_id", "state", "created_at", "id"),
    sa.Index(None, "project_id", "server_key", "created_at", "id"),
    sa.Index(None, "backup_id"),
    sa.Index(None, "checkpoint_id"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "updated_at", "id"),
    sa.Index(None, "state", "created_at", "id"),
    sa.Index(None, "state", "id"),
    sa.Index(None, "server_key", "created_at", "id"),
    # One restore of a server at a time, whatever the code above believes.
    sa.Index("uq_restores_under_way", "project_id", "server_key", unique=True,
             sqlite_where=sa.text("state = 'in_progress'"), postgresql_where=sa.text("state = 'in_progress'")),
)  # fmt: skip

restore_volumes = sa.Table(
    "restore_volumes", metadata,
    sa.Column("restore_id", sa.Text, sa.ForeignKey("restores.id"), primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True),
    _text("volume_backup_id"), _text("volume_id"), _bytes("size"), _bytes("target_size"), _text("outcome"),
    _json("ranges"), _number("progress"), _text("reason"), _bytes("mark"), _json("lost"),
    _text("identity"),
)  # fmt: skip

known_disks = sa.Table(
    "known_disks", metadata,
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("volume_key", sa.Text, primary_key=True),
    _text("manifest"), _text("root"), _text("generation"), _time("noted_at"),
)  # fmt: skip

verifications = sa.Table(
    "verifications", metadata,
    _id(), _text("depth"), _text("state"), _time("started_at"), _time("finished_at", null=True),
    _bytes("read"), _number("objects"), _json("findings"), _json("disks"),
    sa.Index(None, "started_at"),
)  # fmt: skip

throttles = sa.Table(
    "throttles", metadata,
    sa.Column("name", sa.Text, primary_key=True),  # what is throttled as a whole: "restores"
    _bytes("bytes_per_second"),
)  # fmt: skip

remembered = sa.Table(
    "remembered", metadata,
    sa.Column("name", sa.Text, primary_key=True),  # "service", or "log/" and the id of a repository
    _json("value"),
)  # fmt: skip

runs = sa.Table(
    "runs", metadata,
    _id(), _text("kind"), _text("subject"), _text("project_id"), _text("state"), _time("created_at"),
    _time("updated_at"), _text("owner"), _number("lease"), _number("deaths"), _time("until", null=True),
    _text("driver"), _text("host"), _time("not_after", null=True),
    sa.Index(None, "state", "created_at"),
    sa.Index(None, "project_id", "kind", "state"),
)  # fmt: skip

policies = sa.Table(
    "policies", metadata,
    _id(), _text("project_id"), _text("name"), _text("description"), _time("created_at"), _time("updated_at"),
    _json("parameters"), _json("servers"), _json("selection"), _json("tags"), _text("operation_id"),
    _text("operation_name"), _text("operation_description"), _flag("enabled"), _json("keep"), _text("trigger_id"),
    _text("pattern"), _time("start_time"), _time("considered_until"), _time("retained_at", null=True),
    sa.Index(None, "project_id", "created_at", "id"),
    sa.Index("uq_policies_name", "project_id", "name", unique=True),
    sa.Index(None, "enabled"),
)  # fmt: skip

policy_servers = sa.Table(
    "policy_servers", metadata,
    # One policy lists a server, whatever the code above believes.
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("server_key", sa.Text, primary_key=True),
    _parent("policy_id", "policies.id"),
    sa.Index(None, "policy_id"),
)  # fmt: skip

project_quotas = sa.Table(
    "project_quotas", metadata,
    sa.Column("project_id", sa.Text, primary_key=True),
    _bytes("backups", null=True), _bytes("capacity", null=True),
)  # fmt: skip

tags = sa.Table(
    "tags", metadata,
    # What stands in the rows of backups and policies once more, to be found by.
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    _text("project_id"), _text("value"),
    sa.Index(None, "project_id", "kind", "key", "value", "subject_id"),
)  # fmt: skip

due_times = sa.Table(
    "due_times", metadata,
    # One time of a schedule is dealt with once, by whichever service is first.
    sa.Column("policy_id", sa.Text, primary_key=True),
    sa.Column("due_at", Time, primary_key=True),
    _time("dealt_at"),
    sa.Index(None, "due_at"),
)  # fmt: skip

operations = sa.Table(
    "operations", metadata,
    _id(), _text("project_id"), _text("kind"), _text("state"), _time("created_at"), _time("updated_at"),
    _time("started_at", null=True), _time("ended_at", null=True), _text("checkpoint_id", null=True),
    _text("plan_id", null=True), _text("restore_id", null=True), _text("scheduled_operation_id", null=True),
    _text("server_id"), _text("server_key"), _text("server_name"), _text("backup_id"), _text("backup_name"),
    _flag("incremental"), _text("request_id"),
    _text("failure_code", null=True), _text("failure_message", null=True),
    sa.Index("ix_operations_listing", "project_id", "created_at", "id", "checkpoint_id", "plan_id", "restore_id"),
    sa.Index(None, "project_id", "id"),
    sa.Index(None, "project_id", "updated_at", "id"),
    sa.Index(None, "project_id", "state", "id"),
    sa.Index(None, "project_id", "state", "created_at", "id"),
    sa.Index(None, "project_id", "kind", "created_at", "id"),
    sa.Index(None, "project_id", "server_key", "created_at", "id"),
    sa.Index(None, "checkpoint_id"),
    sa.Index(None, "plan_id", "created_at"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "updated_at", "id"),
    sa.Index(None, "state", "created_at", "id"),
    sa.Index(None, "state", "id"),
    sa.Index(None, "kind", "created_at", "id"),
    sa.Index(None, "server_key", "created_at", "id"),
    sa.Index(None, "restore_id"),
)  # fmt: skip

steps = sa.Table(
    "steps", metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    _json("result"), _time("finished_at"),
)  # fmt: skip

events = sa.Table(
    "events", metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    _parent("run_id", "runs.id"), _time("at"), _text("kind"), _text("subject"), _json("numbers"),
    sa.Index(None, "run_id", "id"),
    sqlite_autoincrement=True,  # an event's number is never used again: clients continue from it
)  # fmt: skip

tokens = sa.Table(
    "tokens", metadata,
    _id(), _text("hash"), _text("project_id"), _text("role"), _text("user"), _time("created_at"),
    _time("expires_at", null=True), _time("revoked_at", null=True), _text("ending"),
    sa.Index(None, "hash", unique=True),
    sa.Index(None, "project_id", "created_at"),
)  # fmt: skip

audit = sa.Table(
    "audit", metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _time("at"), _text("phase"), _text("action"), _text("subject"), _text("user"), _text("project_id"),
    _text("address"), _text("request_id"), _text("outcome"), _text("digest"),
)  # fmt: skip

notices = sa.Table(
    "notices", metadata,
    _id(), _bytes("number"), _text("kind"), _time("at"), _text("project_id"), _json("facts"),
    _flag("routed"),  # whether it stands who is told
    sa.Index(None, "number", unique=True),
    sa.Index(None, "routed", "number"),
)  # fmt: skip

deliveries = sa.Table(
    "deliveries", metadata,
    _id(), _parent("notice_id", "notices.id"), _bytes("number"), _text("recipient"), _text("state"),
    _time("created_at"), _time("updated_at"), _number("tries"), _time("next_at", null=True), _text("answer"),
    _text("claim"), _time("until", null=True),  # who tries it now, and how long that is believed
    # A recipient is told of a notice once, whatever the code above believes.
    sa.Index("uq_deliveries_notice", "notice_id", "recipient", unique=True),
    sa.Index(None, "state", "created_at", "id"),
    sa.Index(None, "recipient", "state", "number"),
    sa.Index(None, "created_at", "id"),
)  # fmt: skip

troubles = sa.Table(
    "troubles", metadata,
    # What has gone wrong and not gone well since.
    sa.Column("name", sa.Text, primary_key=True),  # the matter, and whose it is
    _number("bad"),  # times in a row
    _time("since"),
)  # fmt: skip
