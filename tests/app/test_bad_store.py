"""An object store in bad weather under a whole service: runs wait and go on, or fail and say which object of which
store; disks hold the one or the other; everything goes on by itself afterwards."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.app.running import PROVIDER, Place, Running, service
from tests.app.weather import Scene, wait_until
from tests.lab.far_away import Answer, Asked, Cut, FarAway, Wait
from tests.lab.memory_s3 import MemoryS3

_TIMEOUT, _RETRIES = "2", "1"
_ADDRESS = "s3://bucket/home"


def _error(status: int, code: str, message: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())


_DOWN = _error(500, "InternalError", "We encountered an internal error")
_EXPIRED = _error(403, "ExpiredToken", "The provided token has expired")
_SKEWED = _error(403, "RequestTimeTooSkewed", "The difference between the request time and the server's is too large")
_BUSY = _error(503, "SlowDown", "Please reduce your request rate")


class Weather:
    """A store in memory, and what comes between it and the service."""

    def __init__(self) -> None:
        self.store = MemoryS3()
        self.seen = 0  # requests
        self._fault: Callable[[Asked], Answer | Cut | Wait | None] = lambda asked: None

    def __call__(self, asked: Asked) -> Answer | Cut | Wait:
        self.seen += 1
        fault = self._fault(asked)
        if isinstance(fault, Answer) and fault.cut is not None:  # of what the store says
            return replace(self.store(asked), cut=fault.cut) if asked.method == "GET" else Cut()
        return self.store(asked) if fault is None else fault

    @contextmanager
    def bad(
        self, fault: Answer | Cut | Wait, *, after: int = 0, only: Callable[[Asked], bool] = lambda asked: True
    ) -> Iterator[None]:
        """All requests but the next *after* meet it, of those that *only* tells."""
        first = self.seen + after
        self._fault = lambda asked: fault if self.seen > first and only(asked) else None
        try:
            yield
        finally:
            self._fault = lambda asked: None


_FAULTS = {
    "500": (_DOWN, "500 Internal Server Error, InternalError"), "403": (_EXPIRED, "403 Forbidden, ExpiredToken"),
    "503": (_BUSY, "503 Service Unavailable, SlowDown"), "clock": (_SKEWED, "403 Forbidden, RequestTimeTooSkewed"),
    "gone": (Cut(), ""), "silent": (Wait(3600), ""), "torn": (Answer(200, cut=5), ""),
}  # fmt: skip


class Shore:
    """A service with its repository in a store."""

    def __init__(self, folder: Path, ending: ExitStack) -> None:
        self.weather = Weather()
        self.way = way = ending.enter_context(FarAway("", weather=self.weather, remember=False))
        self.place = Place(folder)
        self.place.environment.update(
            AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="not-to-be-shown", RESTEAD_STORE=_ADDRESS,
            RESTEAD_S3_ENDPOINT=way.url, RESTEAD_S3_RETRIES=_RETRIES, RESTEAD_S3_TIMEOUT=_TIMEOUT,
        )  # fmt: skip
        self.scene = Scene(self.place)


@pytest.fixture(scope="module")
def shore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shore]:
    with ExitStack() as ending:
        yield Shore(tmp_path_factory.mktemp("shore"), ending)


@pytest.fixture(scope="module")
def running(shore: Shore) -> Iterator[Running]:
    with service(shore.place) as running:
        yield running


@pytest.mark.parametrize(
    "name", ["500", "403", "gone", *(pytest.param(each, marks=pytest.mark.long) for each in _FAULTS
                                     if each not in ("500", "403", "gone"))]
)  # fmt: skip
def test_runs_wait_for_the_store_and_go_on(shore: Shore, running: Running, name: str) -> None:
    """A backup from its first request that changes something, and a restore; meanwhile whoever asks is answered."""
    fault, why = _FAULTS[name]
    scene = shore.scene
    wanted, since = scene.change(), scene.mark()
    with shore.weather.bad(fault, after=2):
        backup = running.begin_backup(scene.server)
        tried = scene.wait_logged("step is tried again", since)
        assert _ADDRESS in tried["reason"]
        assert why in tried["reason"]
        assert running.backup(backup)["status"] == "protecting"
    assert running.wait_for_backup(backup)["status"] == "available"

    before, since = scene.change(), scene.mark()
    with shore.weather.bad(fault, after=2):
        restore = running.begin_restore(backup)
        scene.wait_logged("step is tried again", since)
        assert scene.contents() == before
    assert running.wait_for_restore(restore)["status"] == "success"
    assert scene.contents() == wanted
    scene.assert_quiet_log()
    assert "not-to-be-shown" not in shore.place.log.read_text()


def test_commands_say_which_object_of_which_store(shore: Shore, running: Running) -> None:
    """And end with the exit code for what cannot be reached; the next time they do their work."""
    assert running.wait_for_backup(running.begin_backup(shore.scene.server))["status"] == "available"
    for words in (("repository", "verify"), ("repository", "collect")):
        with shore.weather.bad(_DOWN, after=4):
            done = shore.place.run(*words)
            assert done.returncode == 3, done
            assert f"in {_ADDRESS}: 500 Internal Server Error" in done.stderr
            assert "Traceback" not in done.stderr
        shore.place.restead(*words)


@pytest.mark.parametrize(
    "name", ["500", "silent", *(pytest.param(each, marks=pytest.mark.long) for each in _FAULTS
                                if each not in ("500", "silent"))]
)  # fmt: skip
def test_what_is_done_regularly_is_done_again_when_the_store_is_back(tmp_path: Path, name: str) -> None:
    """Verifying and collecting: no damage is told, nothing goes that is needed, and that they fail is said."""
    with ExitStack() as ending:
        shore = Shore(tmp_path, ending)
        scene, packs = shore.scene, lambda: {each for each in shore.weather.store.objects if "/packs/" in each}
        with service(shore.place) as running:
            first = running.wait_for_backup(running.begin_backup(scene.server))
            needless = packs()
            for disk in scene.disks:
                disk.write_bytes(disk.read_bytes()[::-1])
            wanted = scene.contents()
            second = running.wait_for_backup(running.begin_backup(scene.server))["id"]
            assert running.http.delete(f"/providers/{PROVIDER}/checkpoints/{first['checkpoint_id']}").is_success
            wait_until(lambda: _is_gone(running, first["id"]), "the backup is not deleted")
        before, since = packs(), scene.mark()
        with shore.weather.bad(_FAULTS[name][0], only=lambda asked: "packs" in asked.path):
            running = ending.enter_context(service(shore.place))
            for chore in _CHORES:
                wait_until(lambda chore=chore: chore in _left(scene, since), f"{chore} does not fail")  # type: ignore[misc]
            status = running.get("/status")["status"]
            said = [each for each in status["warnings"] if "is tried again by itself" in each]
            assert len(said) == 2
            assert all(_ADDRESS in each for each in said)
            assert status["verification"] is None
            assert packs() == before
        wait_until(lambda: _done(scene, since) == _left(scene, since), "a chore is not done again")
        status = running.get("/status")["status"]
        assert not any("is tried again by itself" in each for each in status["warnings"])
        assert status["verification"]["state"] == "sound"
        assert packs() == before - needless
        scene.change()
        assert running.wait_for_restore(running.begin_restore(second))["status"] == "success"
        assert scene.contents() == wanted
        scene.assert_quiet_log()
        assert len(scene.logged("a chore is left for later", since)) < 20


_CHORES = {"verifying the repository", "collecting what no backup needs"}


def _left(scene: Scene, since: int) -> set[str]:
    return {line["chore"] for line in scene.logged("a chore is left for later", since)} & _CHORES


def _done(scene: Scene, since: int) -> set[str]:
    return {line["chore"] for line in scene.logged("a chore is done again", since)} & _CHORES


def _is_gone(running: Running, backup: str) -> bool:
    return running.http.get(f"/checkpoint_items/{backup}").status_code == 404


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", ["500", "gone", "torn"])
def test_a_restore_whose_store_goes_at_any_request_is_whole_or_put_back(
    shore: Shore, running: Running, name: str
) -> None:
    """It comes back when the run has tried in vain once.  The disks hold what was backed up, or what they held."""
    scene, fault = shore.scene, _FAULTS[name][0]
    wanted = scene.change()
    backup = running.wait_for_backup(running.begin_backup(scene.server))["id"]
    scene.change()
    first = shore.weather.seen
    assert running.wait_for_restore(running.begin_restore(backup))["status"] == "success"
    outcomes = set()
    for after in range(0, shore.weather.seen - first, 2):
        before, since = scene.change(), scene.mark()
        with shore.weather.bad(fault, after=after):
            restore = running.begin_restore(backup)
            wait_until(
                lambda since=since: bool(  # type: ignore[misc]
                    scene.logged("step is tried again", since) or scene.logged("run ended", since)
                ),
                "the run neither tried again nor ended",
            )
        status = running.wait_for_restore(restore)["status"]
        assert scene.contents() == (wanted if status == "success" else before), f"{name} after {after}: {status}"
        outcomes.add(status)
    assert "success" in outcomes
    scene.assert_quiet_log()


@pytest.mark.long
def test_a_store_that_stays_away_fails_runs_and_says_why(shore: Shore, running: Running) -> None:
    """A backup and a restore; nothing was changed, and the next ones go well."""
    scene = shore.scene
    good = running.wait_for_backup(running.begin_backup(scene.server))["id"]
    wanted = scene.contents()
    changed = scene.change()
    with shore.weather.bad(_EXPIRED):
        failed = running.wait_for_backup(running.begin_backup(scene.server))
        assert failed["status"] == "error"
        assert f"{_ADDRESS}: 403 Forbidden, ExpiredToken" in failed["extend_info"]["fail_reason"]
        assert running.wait_for_restore(running.begin_restore(good))["status"] == "fail"
        assert scene.contents() == changed
    again = running.wait_for_backup(running.begin_backup(scene.server))
    assert again["status"] == "available"
    assert running.wait_for_restore(running.begin_restore(good))["status"] == "success"
    assert scene.contents() == wanted
    assert "sound" in shore.place.run("repository", "verify").stderr


@pytest.mark.long
def test_a_slow_store_is_waited_for(shore: Shore, running: Running) -> None:
    """More than a second for each request: nothing is tried again."""
    scene, since = shore.scene, shore.scene.mark()
    wanted = scene.change()
    shore.way.delay = 1.2
    try:
        backup = running.wait_for_backup(running.begin_backup(scene.server))
        scene.change()
        assert running.wait_for_restore(running.begin_restore(backup["id"]))["status"] == "success"
    finally:
        shore.way.delay = 0.0
    assert scene.contents() == wanted
    assert scene.logged("step is tried again", since) == []


def test_a_service_does_not_start_without_its_store_and_says_so(shore: Shore, tmp_path: Path) -> None:
    """With an exit code that its supervisor starts it again for; nothing is made in the data folder that is no use."""
    place = Place(tmp_path)
    own = {name: place.environment[name] for name in ("RESTEAD_DATA", "RESTEAD_RUNTIME")}
    place.environment = {**shore.place.environment, **own}
    with shore.weather.bad(_DOWN):
        done = place.run("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 3
    assert f"{_ADDRESS}: 500 Internal Server Error" in done.stderr
    assert "Traceback" not in done.stderr
