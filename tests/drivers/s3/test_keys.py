"""Keys to a bucket come from where the AWS tools have them; Swift checks every signature."""

from pathlib import Path

import pytest
from tests.drivers.s3.conftest import Keys
from tests.lab.bucket import Bucket
from tests.lab.s3 import store_in

from restead.domain.errors import InvalidRequest, Unavailable
from restead.drivers.blobs.s3 import S3Blobs
from restead.drivers.blobs.s3_service import S3Service


@pytest.fixture
def file(swift_bucket: Bucket, keys: Keys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of credentials in which the profile `backup` has the right ones, and `default` has not."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    path = tmp_path / "credentials"
    path.write_text(
        f"[default]\naws_access_key_id = {swift_bucket.user}\naws_secret_access_key = wrong\n"
        f"[backup]\naws_access_key_id = {swift_bucket.user}\naws_secret_access_key = {swift_bucket.secret}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return path


def _store(bucket: Bucket, profile: str = "") -> S3Blobs:
    return S3Blobs(S3Service(bucket.name, "keys", bucket.endpoint, profile=profile, retries=0))


@pytest.mark.usefixtures("file")
def test_a_profile_of_the_file_opens_the_bucket(swift_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store(swift_bucket, "backup")
    store.put("log/1", b"x")
    monkeypatch.setenv("AWS_PROFILE", "backup")
    assert _store(swift_bucket).get("log/1") == b"x"
    assert swift_bucket.secret not in repr(store) + repr(vars(store)) + repr(store._reading) + repr(store._writing)


@pytest.mark.usefixtures("file")
def test_wrong_keys_are_one_clear_error(swift_bucket: Bucket) -> None:
    with pytest.raises(Unavailable, match="403 Forbidden, SignatureDoesNotMatch, The request signature"):
        _store(swift_bucket).get("log/1")


@pytest.mark.usefixtures("file")
def test_keys_of_the_environment_come_first(swift_bucket: Bucket, keys: Keys) -> None:
    keys.to(swift_bucket)
    store_in(swift_bucket).put("log/1", b"x")


def test_a_profile_that_is_not_there_is_named(swift_bucket: Bucket, file: Path) -> None:
    with pytest.raises(InvalidRequest, match=f"{file} holds no keys of profile other"):
        _store(swift_bucket, "other")
