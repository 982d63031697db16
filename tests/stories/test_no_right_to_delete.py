"""A service whose keys to the bucket cannot delete does all of its work; what must delete says so and loses nothing."""

import os
from pathlib import Path

from tests.app.running import PROJECT, Place, service
from tests.lab.far_away import Answer, Asked, FarAway
from tests.lab.s3 import moto

_MIB = 1 << 20
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Rights:
    """The weather of a way on which nobody may delete, as long as it is not *full*; counts who tried."""

    def __init__(self) -> None:
        self.full = False
        self.tried = 0

    def __call__(self, asked: Asked) -> Answer | None:
        if asked.method != "DELETE" or self.full:
            return None
        self.tried += 1
        return Answer(403, _DENIED, {"Content-Type": "application/xml"})


def test_only_collection_and_erasure_need_the_right_to_delete(tmp_path: Path) -> None:
    rights, place = Rights(), Place(tmp_path)
    disk = place.disk("system.raw", 6 * _MIB, seed=1)
    with moto() as bucket, FarAway(bucket.endpoint, weather=rights, remember=False) as way:
        place.environment.update(bucket.environment, RESTEAD_STORE=f"s3://{bucket.name}/home")
        place.environment.update(RESTEAD_S3_ENDPOINT=way.url, RESTEAD_COLLECT_EVERY="0")
        place.restead("server", "add", "web-1", "--project", PROJECT, "--disk", f"path={disk},name=system")
        with service(place):
            place.restead("protect", "web-1", "--name", "monday")
            wanted = disk.read_bytes()
            disk.write_bytes(os.urandom(6 * _MIB))
            place.restead("protect", "web-1", "--name", "tuesday")
            place.restead("restore", "monday", "--no-safety", "--yes")
            assert disk.read_bytes() == wanted
            assert "sound" in place.run("repository", "verify", "--depth", "full").stderr
            place.restead("backup", "delete", "tuesday", "--yes")
            refused = place.run("repository", "collect")
            assert (refused.returncode, refused.stdout) == (3, ""), refused.stderr
            assert f"cannot be deleted in s3://{bucket.name}/home: 403 Forbidden, AccessDenied" in refused.stderr
        erased = place.run("key", "erase", PROJECT, "--yes")
        assert (erased.returncode, "403 Forbidden, AccessDenied" in erased.stderr) == (3, True), erased.stderr
        assert rights.tried
        rights.full = True
        finished = place.run("key", "erase", "--finish")
        assert finished.returncode == 0, finished.stderr
