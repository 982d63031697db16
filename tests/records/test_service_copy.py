"""What rows a copy of what only the service knows is made of."""

from tests.records.rows import add_backup

from restead.domain.ids import BackupId
from restead.records import Records, service_copy


def test_nothing_of_what_is_left_out_is_in_a_copy(records: Records) -> None:
    """No checkpoint either, unless another backup is in it."""
    with records.begin() as tx:
        add_backup(tx, "lost")
        add_backup(tx, "kept")
        add_backup(tx, "half lost")
        add_backup(tx, "half kept", checkpoint="c-half lost")
    with records.read() as tx:
        everything = service_copy.parts(tx)
        some = service_copy.parts(tx, {BackupId("lost"), BackupId("half lost")})
    assert [each["id"] for each in everything["backups"]] == ["half kept", "half lost", "kept", "lost"]
    assert [each["id"] for each in some["backups"]] == ["half kept", "kept"]
    assert [each["id"] for each in some["checkpoints"]] == ["c-half lost", "c-kept"]
    assert some["backups"] == [each for each in everything["backups"] if each["id"] in ("half kept", "kept")]
