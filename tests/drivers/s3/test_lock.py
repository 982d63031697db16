"""Object lock: what was asked for is there or it is an error, and a collection gets on with buckets that lock."""

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError
from tests.drivers.s3.conftest import Keys
from tests.fakes.disks import MemoryDisk
from tests.lab.bucket import Bucket
from tests.lab.far_away import Answer, Asked, FarAway
from tests.lab.memory_s3 import MemoryS3
from tests.repository.house import House

from restead.domain.errors import InvalidRequest, Unavailable
from restead.drivers.blobs.s3 import S3Blobs
from restead.drivers.blobs.s3_service import S3Service

_PACK = f"packs/{'a' * 32}/{'b' * 64}"
_DAYS = timedelta(days=30)
_DENIED = b"<Error><Code>AccessDenied</Code><Message>object protected by object lock</Message></Error>"


class Locked:
    """A bucket of moto that was made with object lock, seen as its owner does."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = replace(bucket, name=f"locked-{secrets.token_hex(4)}")
        config = botocore.config.Config(s3={"addressing_style": "path"})
        self.client: Any = boto3.client("s3", endpoint_url=bucket.endpoint, region_name="us-east-1", config=config)
        self.client.create_bucket(Bucket=self.bucket.name, ObjectLockEnabledForBucket=True)

    def store(self, *, endpoint: str = "", lock: timedelta = timedelta(), mode: str = "governance") -> S3Blobs:
        where = endpoint or self.bucket.endpoint
        return S3Blobs(S3Service(self.bucket.name, endpoint=where, retries=0, lock=lock, lock_mode=mode))

    def lock_all(self, days: int) -> None:
        """Let everything that is put be locked for so long, whoever puts it."""
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": days}}
        self.client.put_object_lock_configuration(
            Bucket=self.bucket.name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )

    def versions(self, prefix: str) -> list[tuple[str, str]]:
        """Name and version of all that was ever put there."""
        found = self.client.list_object_versions(Bucket=self.bucket.name, Prefix=prefix)
        return [(each["Key"], each["VersionId"]) for each in found.get("Versions", [])]

    def is_there_for_good(self, name: str, version: str) -> bool:
        """Whether not even its owner can delete it."""
        try:
            self.client.delete_object(Bucket=self.bucket.name, Key=name, VersionId=version)
        except ClientError:
            return True
        return False


@pytest.fixture
def locked(moto_bucket: Bucket, keys: Keys) -> Locked:
    keys.to(moto_bucket)
    return Locked(moto_bucket)


@pytest.mark.parametrize("mode", ["governance", "compliance"])
def test_packs_are_locked_and_nothing_else(locked: Locked, mode: str) -> None:
    store = locked.store(lock=_DAYS, mode=mode)
    began = datetime.now(UTC).replace(microsecond=0)
    assert store.put(_PACK, b"x")
    assert store.put("log/1", b"x")
    about = locked.client.head_object(Bucket=locked.bucket.name, Key=_PACK)
    assert about["ObjectLockMode"] == mode.upper()
    assert began + _DAYS <= about["ObjectLockRetainUntilDate"] <= datetime.now(UTC) + _DAYS + timedelta(hours=3)
    assert store.locked_until(_PACK).startswith(str((began + _DAYS).year))
    assert "ObjectLockMode" not in locked.client.head_object(Bucket=locked.bucket.name, Key="log/1")
    assert store.locked_until("log/1") == ""
    ((_, pack),), ((_, entry),) = locked.versions(_PACK), locked.versions("log/1")
    assert locked.is_there_for_good(_PACK, pack)
    assert not locked.is_there_for_good("log/1", entry)
    assert not store.put(_PACK, b"y"), "a lock changes nothing of who wins a name"


def test_a_bucket_that_was_made_without_locks_is_refused(moto_bucket: Bucket, keys: Keys) -> None:
    keys.to(moto_bucket)
    store = S3Blobs(S3Service(moto_bucket.name, secrets.token_hex(4), moto_bucket.endpoint, retries=0, lock=_DAYS))
    with pytest.raises(Unavailable, match=r"400.*[Ll]ock"):
        store.put(_PACK, b"x")


def test_a_service_that_passes_over_locks_is_found_out(moto_bucket: Bucket, keys: Keys) -> None:
    """Without a word it stores the object as any other: nobody may believe that it is locked."""
    keys.to(moto_bucket)
    with FarAway("", weather=MemoryS3()) as way:
        store = S3Blobs(S3Service("backups", endpoint=way.url, retries=0, lock=_DAYS))
        assert store.put("log/1", b"x")
        with pytest.raises(InvalidRequest, match="s3_lock_days is set, and s3://backups shows no lock on packs/"):
            store.put(_PACK, b"x")
        assert S3Blobs(S3Service("backups", endpoint=way.url, retries=0)).get(_PACK) == b"x"


def test_a_collection_gets_on_with_a_bucket_that_locks_everything(locked: Locked, tmp_path: Path) -> None:
    """S3 hides what is deleted and keeps its bytes until the lock ends; the backup that is left is whole."""
    locked.lock_all(days=30)
    house = House(tmp_path, store=locked.store())
    kept, gone = house.save(MemoryDisk.of(b"k" * 9000)), house.save(MemoryDisk.of(b"g" * 9000))
    put = locked.versions("packs/")
    house.repository.delete([gone])
    done = house.repository.collect()
    assert (done.removed, done.locked) == (1, 0)
    assert len(list(house.store.list("packs/"))) == len(put) - 1
    assert locked.versions("packs/") == put
    assert all(locked.is_there_for_good(*each) for each in put)
    target = MemoryDisk(9000)
    house.restore(kept, target, repository=house.open())
    assert target.data == b"k" * 9000
    assert house.open().collect().condemned == 0


def test_a_collection_waits_for_a_service_that_lets_locked_packs_not_go(locked: Locked, tmp_path: Path) -> None:
    """As stores do that hide nothing: 403, and the object says until when."""
    refusing = [True]

    def weather(asked: Asked) -> Answer | None:
        deletes = asked.method == "DELETE" and "/packs/" in asked.path
        return Answer(403, _DENIED, {"Content-Type": "application/xml"}) if deletes and refusing else None

    with FarAway(locked.bucket.endpoint, weather=weather) as way:
        house = House(tmp_path, store=locked.store(endpoint=way.url, lock=_DAYS))
        kept, gone = house.save(MemoryDisk.of(b"k" * 9000)), house.save(MemoryDisk.of(b"g" * 9000))
        house.repository.delete([gone])
        done = house.repository.collect()
        assert (done.condemned, done.removed, done.locked) == (1, 0, 1)
        assert done.locked_until[:2] == "20"
        refusing.clear()
        done = house.open().collect()
        assert (done.condemned, done.removed, done.locked) == (0, 1, 0)
        target = MemoryDisk(9000)
        house.restore(kept, target, repository=house.open())
        assert target.data == b"k" * 9000


@pytest.mark.parametrize("wanted", [True, False])
def test_puts_carry_a_checksum_if_that_is_wanted_or_something_is_locked(
    moto_bucket: Bucket, keys: Keys, wanted: bool
) -> None:
    keys.to(moto_bucket)
    with FarAway("", weather=MemoryS3()) as way:
        service = S3Service("backups", endpoint=way.url, retries=0, checksums=wanted, lock=_DAYS)
        assert S3Blobs(service).put("log/1", b"x")
        with pytest.raises(InvalidRequest):
            S3Blobs(service).put(_PACK, b"x")
        puts = [asked for asked in way.seen if asked.method == "PUT"]
    assert ["x-amz-checksum-sha256" in asked.headers for asked in puts] == [wanted, True]
    assert all("x-amz-content-sha256" in asked.headers for asked in puts)
