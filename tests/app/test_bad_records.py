"""Records that cannot be written, or whose server cuts every connection: requests are told to come again, runs are
taken up again and told once, and nothing has to be restarted."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.app.running import Place, service
from tests.app.test_database import add_server
from tests.app.weather import Scene, assert_come_again, wait_until
from tests.lab.postgres import Cluster


@contextmanager
def _unwritable(data: Path) -> Iterator[None]:
    """Let nobody write to the records' files, whoever it is and whether they are open."""
    files = [str(path) for path in data.glob("records.sqlite*")]
    done = subprocess.run(["chattr", "+i", *files], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"files cannot be made immutable: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)


@pytest.mark.long
def test_records_that_nobody_may_write_are_read_on(tmp_path: Path) -> None:
    """A change is refused before anything is done; a run under way goes on when the files may be written again."""
    scene = Scene(Place(tmp_path))
    wanted = scene.contents()
    with service(scene.place) as running:
        backup = running.wait_for_backup(running.begin_backup(scene.server))["id"]
        scene.change()
        with _unwritable(scene.place.data):
            assert running.backup(backup)["status"] == "available"
            assert_come_again(scene.ask_backup(running))
            done = scene.place.run("token", "create", "--project", "p1")
            assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
        restore = running.begin_restore(backup)
        with _unwritable(scene.place.data):
            since = scene.mark()
            met = ("run left as it is", "run ended", "the records are away")
            wait_until(lambda: any(scene.logged(event, since) for event in met), "the run met nothing")
        assert running.wait_for_restore(restore)["status"] == "success"
        assert scene.contents() == wanted
        assert running.wait_for_backup(running.begin_backup(scene.server))["status"] == "available"
    scene.assert_quiet_log()


@pytest.mark.long
def test_a_database_that_cuts_every_connection_holds_runs_up_and_no_more(tmp_path: Path) -> None:
    """Again and again while a backup and a restore are under way: each comes to its end, once."""
    place = Place(tmp_path)
    with Cluster.running() as cluster:
        url = cluster.create("cut")
        place.environment["RESTEAD_DATABASE"] = url
        server = add_server(place, url)
        disks = [place.folder / name for name in ("system.raw", "data.raw")]
        wanted = [disk.read_bytes() for disk in disks]
        with service(place) as running:
            backup = running.begin_backup(server)
            with _cutting(cluster, "cut"):
                _wait(lambda: running.backup(backup)["status"], "protecting")
            assert running.backup(backup)["status"] == "available"
            disks[0].write_bytes(bytes(len(wanted[0])))
            restore = running.begin_restore(backup)
            with _cutting(cluster, "cut"):
                _wait(lambda: running.restore(restore)["status"], "in_progress")
            assert running.restore(restore)["status"] == "success"
            assert [disk.read_bytes() for disk in disks] == wanted
            assert running.http.get(f"/restores/{restore}/events").text.count("event: end") == 1
    assert "Traceback" not in place.log.read_text()
    assert not any("exception" in line for line in place.log_lines())


@contextmanager
def _cutting(cluster: Cluster, database: str) -> Iterator[None]:
    """End every connection of the service's, three times a second."""
    stop = threading.Event()

    def cut() -> None:
        while not stop.wait(0.3):
            cluster.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _wait(look: Callable[[], str], under_way: str) -> None:
    def over() -> bool:
        try:
            return look() != under_way
        except AssertionError as error:  # what `Running` raises with the answer's text
            if '"code":503' not in str(error):
                raise
            return False

    wait_until(over, f"it is still {under_way}")
