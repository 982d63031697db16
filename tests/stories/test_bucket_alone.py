"""What a bucket and a key are enough for: to be checked, to be recovered from, and to hold a second copy."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from tests.app.running import PROJECT, RESTEAD, Place, service
from tests.lab.bucket import Bucket
from tests.lab.far_away import FarAway
from tests.lab.swift import swift

_MIB = 1 << 20
_PATIENCE = 120.0  # seconds


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with swift(tmp_path_factory.mktemp("swift")) as bucket:
        yield bucket


class Site(Place):
    """A place with one server, which may use the bucket."""

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.environment.update(bucket.environment, RESTEAD_S3_ENDPOINT=bucket.endpoint)
        self.image = self.disk("system.raw", 9 * _MIB, seed=1)

    def add_server(self) -> None:
        self.restead("server", "add", "web-1", "--project", PROJECT, "--disk", f"path={self.image},name=system")


def test_a_lost_service_is_rebuilt_from_its_bucket_and_a_key(bucket: Bucket, tmp_path: Path) -> None:
    """The data folder is gone, with records and cache: the bucket, checked without a key, brings all of it back."""
    site, address = Site(tmp_path / "site", bucket), f"s3://{bucket.name}/lost"
    site.environment["RESTEAD_STORE"] = address
    site.add_server()
    with service(site):
        key = site.restead("key", "export")
        backup = site.restead("protect", "web-1", "--name", "monday").split()[-1]
        wanted = site.image.read_bytes()
        noted = site.restead("repository", "digest").strip()
    shutil.rmtree(site.data)
    site.environment.pop("RESTEAD_STORE")
    assert "every object is what its name" in site.run("repository", "scrub", address).stderr
    assert not site.data.exists(), "to check it nothing is made"

    at = ["recover", "--repository", address, "--data", str(site.data)]
    refused = site.run(*at, stdin=key)  # it would add a key file, and the lost folder alone may write to this store
    assert (refused.returncode, "restead repository claim" in refused.stderr) == (3, True), refused.stderr
    site.environment["RESTEAD_STORE"] = address
    site.restead("repository", "claim", "--yes")
    number, digest = noted.split(":")
    older = site.run(*at, "--at-least", f"{int(number) + 9}:{digest}", stdin=key)
    assert (older.returncode, "it is older" in older.stderr) == (4, True), older.stderr
    done = site.run(*at, "--at-least", noted, stdin=key)
    assert done.returncode == 0, done.stderr
    assert backup in done.stdout
    assert "1 token, servers web-1" in done.stderr
    assert not (site.data / "repository").exists()
    site.image.write_bytes(os.urandom(9 * _MIB))
    with service(site) as running:
        assert running.backup(backup)["name"] == "monday"
        site.restead("restore", "monday", "--yes")
    assert site.image.read_bytes() == wanted


def test_a_second_copy_in_a_bucket_restores_without_the_first(bucket: Bucket, tmp_path: Path) -> None:
    """It is opened by a passphrase; a second run copies what is new, and a flipped bit in it is found without a key."""
    site, address, phrase = Site(tmp_path / "site", bucket), f"s3://{bucket.name}/second", tmp_path / "phrase"
    phrase.touch(0o600)
    phrase.write_text("many words that nobody guesses\n")
    site.add_server()
    copy = ["repository", "copy", "--to", address, "--to-passphrase-file", str(phrase)]
    with service(site):
        monday = site.restead("protect", "web-1", "--name", "monday").split()[-1]
        assert f"{monday} monday of project p1, 1 disk" in site.restead(*copy)
        with site.image.open("r+b") as image:
            image.write(os.urandom(_MIB))
        tuesday = site.restead("protect", "web-1", "--name", "tuesday").split()[-1]
        wanted = site.image.read_bytes()
        lines = [json.loads(line) for line in site.restead(*copy, "--json").splitlines()]
        ended = [(each["backup_id"], each["state"]) for each in lines if "state" in each]
        assert ended == [(monday, "there"), (tuesday, "copied")]
        assert next(each["read"] for each in lines if each.get("state") == "copied") == _MIB
    phrase.write_text("another\n")
    assert site.run(*copy).returncode == 4
    phrase.write_text("many words that nobody guesses\n")
    shutil.rmtree(site.data)

    assert "every object is what its name" in site.run("repository", "scrub", address).stderr
    pack = _flip_a_pack(bucket, "second/")
    scrubbed = site.run("repository", "scrub", address)
    assert (scrubbed.returncode, scrubbed.stdout.startswith(f"{pack} is damaged")) == (1, True), scrubbed.stdout
    _flip_a_pack(bucket, "second/")
    at = ["recover", "--repository", address, "--data", str(site.data), "--passphrase-file", str(phrase)]
    told = site.restead(*at)
    assert f"{monday} monday" in told
    assert f"{tuesday} tuesday" in told
    site.environment.update(RESTEAD_STORE=address, RESTEAD_PASSPHRASE_FILE=str(phrase))
    site.environment.pop("RESTEAD_TOKEN")
    site.restead("repository", "claim", "--yes")
    server_id = json.loads(site.restead("repository", "list", "--json").splitlines()[0])["server"]["id"]
    site.image.write_bytes(os.urandom(9 * _MIB))
    site.restead("server", "add", "web-1", "--project", PROJECT, "--disk", f"path={site.image},name=system",
                 "--id", server_id)  # fmt: skip
    with service(site):
        site.restead("restore", "tuesday", "--map", "system=system", "--yes")
    assert site.image.read_bytes() == wanted


def test_two_copies_to_one_place_do_not_run_at_once(bucket: Bucket, tmp_path: Path) -> None:
    """The second is refused while the first is under way, stopped though it is, and finds its work done later."""
    site, address = Site(tmp_path / "site", bucket), f"s3://{bucket.name}/twice"
    site.add_server()
    with service(site):
        monday = site.restead("protect", "web-1", "--name", "monday").split()[-1]
    copy = ["repository", "copy", "--to", address]
    with FarAway(bucket.endpoint, delay=0.2) as way:
        environment = {**site.environment, "RESTEAD_S3_ENDPOINT": way.url}
        with subprocess.Popen([RESTEAD, *copy], env=environment, stdout=subprocess.PIPE, text=True) as first:
            _wait_for_lock(site, first)
            first.send_signal(signal.SIGSTOP)
            try:
                second = site.run(*copy)
            finally:
                first.send_signal(signal.SIGCONT)
            assert (second.returncode, second.stdout) == (3, ""), second.stderr
            assert "another copy to that repository is under way" in second.stderr
            told, _ = first.communicate(timeout=_PATIENCE)
    assert (first.returncode, monday in told) == (0, True)
    assert site.restead(*copy) == ""


def _wait_for_lock(site: Site, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        for path in (site.data / "cache").glob("*.copying"):
            with path.open("r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
        time.sleep(0.01)
    pytest.fail("the first copy never began")


def _flip_a_pack(bucket: Bucket, prefix: str) -> str:
    """Flip a bit in the middle of the first pack; return its name."""
    client = boto3.client("s3", endpoint_url=bucket.endpoint, region_name="us-east-1",
                          aws_access_key_id=bucket.user, aws_secret_access_key=bucket.secret)  # fmt: skip
    listed = client.list_objects_v2(Bucket=bucket.name, Prefix=f"{prefix}packs/")["Contents"]
    key = min(each["Key"] for each in listed)
    body = bytearray(client.get_object(Bucket=bucket.name, Key=key)["Body"].read())
    body[len(body) // 2] ^= 1
    client.put_object(Bucket=bucket.name, Key=key, Body=bytes(body))
    return str(key).removeprefix(prefix)
