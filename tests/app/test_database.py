"""A real service whose records are on PostgreSQL: moved there, and through the server's bad weather."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr
from tests.app.running import PROVIDER, Place, service
from tests.lab.postgres import Cluster
from typer.testing import CliRunner

from restead.app import Doors
from restead.app.house import FolderHouse
from restead.app.opening import opened
from restead.cli import NewServer, command_line
from restead.domain.errors import Unavailable
from restead.records import Tokens
from restead.settings import Settings

_MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.running() as cluster:
        yield cluster


def restead(data: Path, database: str | None, *words: str, code: int = 0) -> str:
    """Do a command in this process; return what it printed, on both streams."""
    environment = {"RESTEAD_DATA": str(data), "RESTEAD_RUNTIME": str(data.parent / "run"), "RESTEAD_DATABASE": database}
    done = CliRunner().invoke(command_line(), words, obj=Doors(), env=environment)
    assert done.exit_code == code, done.output
    return done.output


def settings(data: Path, database: str | None = None) -> Settings:
    return Settings(data=data, runtime=data.parent / "run", database=database and SecretStr(database))


def add_server(place: Place, database: str | None = None) -> str:
    """Describe a server of two disks; return its id."""
    disks = [place.disk(name, 9 * _MIB, seed=seed) for seed, name in enumerate(("system.raw", "data.raw"))]
    with opened(settings(place.data, database)) as house:
        new = NewServer("web-1", "p1", tuple(f"path={disk}" for disk in disks))
        return FolderHouse(house).add_server(new).id


def assert_refused(settings: Settings, reason: str) -> None:
    with pytest.raises(Unavailable, match=reason), opened(settings, serving=True):
        pass


def contents(place: Place) -> list[bytes]:
    return [(place.folder / name).read_bytes() for name in ("system.raw", "data.raw")]


def test_records_move_to_a_server_and_nobody_works_on_the_old_ones_by_mistake(tmp_path: Path, cluster: Cluster) -> None:
    data, url = tmp_path / "data", cluster.create("moved")
    token = restead(data, None, "token", "create", "--project", "p1").split()[-1]
    copied = restead(data, None, "db", "copy", url)
    assert "tokens 1" in copied.splitlines()
    assert "put the address into the setting" in copied
    assert_refused(settings(data), "copied to another database")
    assert "copied to another database" in restead(data, None, "db", "copy", url, code=3)
    with opened(settings(data, url), serving=True) as house:
        assert Tokens(house.records).caller(token).project_id == "p1"
        assert "end it first" in restead(data, url, "db", "copy", f"sqlite:///{tmp_path}/back", code=3)
        assert "when it starts" in restead(data, url, "db", "upgrade", code=3)
        assert "the records are whole" in restead(data, url, "db", "check")
    restead(data, url, "db", "copy", f"sqlite:///{tmp_path}/back")
    assert not {path.name for path in tmp_path.iterdir()} - {"data", "run", "back"}


def test_records_on_a_server_belong_to_one_data_folder(tmp_path: Path, cluster: Cluster) -> None:
    """Its servers, sockets and keys are in one folder; a second service would take up what it cannot do."""
    first, second, url = tmp_path / "first", tmp_path / "second", cluster.create("owned")
    with opened(settings(first, url), serving=True):
        assert_refused(settings(second, url), f"belong to data folder {first}")
        assert "say --yes" in restead(second, url, "db", "claim", code=2)
    restead(second, url, "db", "claim", "--yes")
    assert_refused(settings(first, url), f"belong to data folder {second}")
    with opened(settings(second, url), serving=True):
        pass
    restead(first, url, "token", "list")  # whoever may use the database may look


def test_an_upgrade_says_what_was_done_and_a_check_what_is_wrong(tmp_path: Path, cluster: Cluster) -> None:
    data, url = tmp_path / "data", cluster.create("harmed")
    assert "their tables are made" in restead(data, url, "db", "upgrade")
    assert "nothing was to do" in restead(data, url, "db", "upgrade")
    cluster.do("DROP INDEX ix_tokens_hash", "harmed")
    found = restead(data, url, "db", "check", code=1)
    assert "ix_tokens_hash" in found
    assert "the records are not whole: 1 finding" in found
    cluster.do("UPDATE alembic_version SET version_num = 'newer'", "harmed")
    assert "only a newer restead knows" in restead(data, url, "db", "upgrade", code=4)


def test_a_service_outlives_its_database_being_restarted_and_read_only(tmp_path: Path, cluster: Cluster) -> None:
    """Requests get 503 and when to come again; what was under way comes to its end by itself, and is good."""
    place, url = Place(tmp_path), cluster.create("restarted")
    server = add_server(place, url)
    wanted = contents(place)
    place.environment["RESTEAD_DATABASE"] = url
    with service(place) as running:
        first = running.wait_for_backup(running.begin_backup(server))
        (place.folder / "data.raw").write_bytes(bytes(9 * _MIB))
        seen = _Asking(running.http)
        restore = running.begin_restore(first["id"])
        for how in ("fast", "immediate"):
            cluster.stop(how)
            answer = running.http.get("/checkpoint_items")
            assert (answer.status_code, answer.headers["Retry-After"].isdecimal()) == (503, True), answer.text
            cluster.start()
            assert running.backup(first["id"])["status"] in ("available", "restoring")
        assert running.wait_for_restore(restore)["status"] == "success"
        assert contents(place) == wanted
        assert seen.end() <= {200, 503}

        _freeze(cluster, "on")
        assert running.backup(first["id"])["status"] == "available"
        path = f"/providers/{PROVIDER}/resources/{server}/action"
        answer = running.http.post(path, json={"protect": {}})
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True), answer.text
        _freeze(cluster, "off")
        assert running.wait_for_backup(running.begin_backup(server))["status"] == "available"
    log = place.log.read_text()
    assert "Traceback" not in log
    assert "postgresql://" not in log


def _freeze(cluster: Cluster, how: str) -> None:
    cluster.do(f"ALTER DATABASE restarted SET default_transaction_read_only = {how}")
    cluster.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'restarted'")


class _Asking:
    """Asks for the list all the time, on a thread of its own, and notes what it is answered."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http
        self._stop = threading.Event()
        self._seen: set[int] = set()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stop.wait(0.02):
            self._seen.add(self._http.get("/checkpoint_items").status_code)

    def end(self) -> set[int]:
        self._stop.set()
        self._thread.join()
        return self._seen
