"""The service as a process: one on a data folder, private, ending in order, and losing nothing to kill -9."""

import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.app.running import PROJECT, Place, Running, service
from tests.lab.certificates import certificate

_MIB = 1 << 20
_SERVER = "f45c477a-57e5-465f-999f-d845083962db"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def running(place: Place) -> Iterator[Running]:
    with service(place) as found:
        yield found


def _add_server(place: Place, *, size: int = 8 * _MIB) -> tuple[Path, Path]:
    system, data = place.disk("system.raw", size, seed=1), place.disk("data.raw", size, seed=2)
    place.restead(
        "server", "add", "web-1", "--project", PROJECT, "--id", _SERVER,
        "--disk", f"path={system},boot", "--disk", f"path={data}",
    )  # fmt: skip
    return system, data


def _slow_down(running: Running) -> None:
    """Stop the process for a moment at a time, so that a run is met in its middle on any machine."""
    for _ in range(3):
        os.kill(running.process.pid, 19)  # SIGSTOP
        time.sleep(0.02)
        os.kill(running.process.pid, 18)  # SIGCONT
        time.sleep(0.005)


def test_everything_in_the_data_folder_is_private(place: Place) -> None:
    """Whoever is not the owner can neither read a file nor enter a folder, whatever the umask was."""
    before = os.umask(0)
    try:
        with service(place) as running:
            _add_server(place)
            running.wait_for_backup(running.begin_backup(_SERVER))
    finally:
        os.umask(before)
    found = [place.data, *place.data.rglob("*"), *(place.folder / "run").rglob("*"), place.folder / "run"]
    open_to_others = [
        f"{path} {stat.S_IMODE(path.lstat().st_mode):04o}"
        for path in found
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    ]
    assert len(found) > 10
    assert open_to_others == []


def test_a_data_folder_that_others_may_enter_is_refused(place: Place) -> None:
    """It is not silently changed: the operator may have meant it for something else."""
    place.data.mkdir(mode=0o755)
    place.data.chmod(0o755)
    done = place.run("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 4
    assert f"data folder {place.data} has mode 0755; only its owner may enter it" in done.stderr
    assert list(place.data.iterdir()) == []


def test_a_second_service_says_who_holds_the_folder(place: Place, running: Running) -> None:
    """Two would both take up the same runs and write the same disks."""
    done = place.run("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 3
    assert f"in use by another service: process {running.process.pid}, since " in done.stderr
    assert f"listening on {running.url}" in done.stderr
    assert running.get("/servers")["servers"] == []


def test_commands_on_the_folder_work_while_a_service_runs(place: Place, running: Running) -> None:
    """A server that is added is there at once; a token that is revoked is worthless at once."""
    _add_server(place)
    assert [server["id"] for server in running.get("/servers")["servers"]] == [_SERVER]
    id = place.restead("token", "list").splitlines()[1].split()[0]
    place.restead("token", "revoke", id)
    assert running.http.get("/servers").status_code == 401


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        (("--listen", "0.0.0.0:0"), True),
        (("--listen", "[::]:0"), True),
        (("--listen", "0.0.0.0:0", "--behind-proxy"), False),
        (("--listen", "localhost:0"), False),
    ],
)
def test_beyond_this_machine_it_listens_only_where_nobody_reads_along(
    place: Place, flags: tuple[str, ...], refused: bool
) -> None:
    """Tokens do not cross a network in the clear."""
    if refused:
        done = place.run("serve", *flags)
        assert done.returncode == 4
        assert "tokens would cross the network in the clear" in done.stderr
    else:
        with service(place, *flags) as running:
            assert running.url.startswith("http://")


def test_with_a_certificate_it_speaks_https_only(place: Place) -> None:
    """Also beyond this machine; a client that knows the authority gets its answers, one that does not gets none."""
    cert, key = certificate(place.folder)
    with service(place, "--listen", "0.0.0.0:0", "--tls-cert", str(cert), "--tls-key", str(key), ca=cert) as running:
        assert running.url.startswith("https://0.0.0.0:")
        url = running.url.replace("0.0.0.0", "127.0.0.1")
        place.environment["RESTEAD_URL"] = url
        refused = place.run("status")
        assert refused.returncode == 3
        assert "certificate" in refused.stderr
        place.environment["RESTEAD_CA"] = str(cert)
        assert f"at {url}" in place.restead("status")


def test_an_address_in_use_is_named(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = place.run("serve", "--listen", address)
    assert done.returncode == 3
    assert f"address {address} is in use by another program" in done.stderr


def test_sigterm_ends_it_in_order_and_frees_the_folder(place: Place) -> None:
    """Exit code 0, nothing left behind that keeps the next one from starting."""
    with service(place) as first:
        assert first.end() == 0
    assert [line["event"] for line in place.log_lines()][-1] == "service ended"
    with service(place) as second:
        assert second.get("/servers")["servers"] == []


def test_sigterm_in_the_middle_of_a_backup_leaves_it_to_the_next_start(place: Place) -> None:
    """A run comes to rest, is not failed, and ends well later."""
    with service(place) as first:
        _add_server(place, size=96 * _MIB)
        id = first.begin_backup(_SERVER)
        assert first.end() == 0
    with service(place) as second:
        assert second.wait_for_backup(id)["status"] == "available"


def test_a_backup_that_kill_9_met_is_finished_after_the_restart(place: Place) -> None:
    """What was promised is done; what was stored before is not stored again in vain."""
    with service(place) as first:
        system, data = _add_server(place, size=192 * _MIB)
        id = first.begin_backup(_SERVER)
        _slow_down(first)
        first.kill()
    wanted = system.read_bytes(), data.read_bytes()
    with service(place) as second:
        assert "runs taken up again" in [line.get("event") for line in place.log_lines()]
        assert second.wait_for_backup(id)["status"] == "available"
        for disk in (system, data):
            disk.write_bytes(os.urandom(192 * _MIB))
        assert second.wait_for_restore(second.begin_restore(id))["status"] == "success"
    assert (system.read_bytes(), data.read_bytes()) == wanted


@pytest.mark.parametrize(("after", "surely_met"), [(0.0, True), (0.05, True), (0.2, False)])
def test_a_restore_that_kill_9_met_is_finished_after_the_restart(place: Place, after: float, surely_met: bool) -> None:
    """However much of it was written, all bytes are right in the end."""
    with service(place) as first:
        system, data = _add_server(place, size=192 * _MIB)
        wanted = system.read_bytes(), data.read_bytes()
        backup = first.wait_for_backup(first.begin_backup(_SERVER))["id"]
        for disk in (system, data):
            disk.write_bytes(os.urandom(192 * _MIB))
        id = first.begin_restore(backup)
        time.sleep(after)
        first.kill()
    with service(place) as second:
        met = "runs taken up again" in [line.get("event") for line in place.log_lines()]
        assert met or not surely_met
        assert second.wait_for_restore(id)["status"] == "success"
    assert (system.read_bytes(), data.read_bytes()) == wanted


def test_no_secret_is_ever_logged(place: Place) -> None:
    """Not the token of a request, not the key file, not the recovery key, at the most talkative level."""
    with service(place) as running:
        _add_server(place)
        running.wait_for_backup(running.begin_backup(_SERVER))
        running.http.post("/restores", content=b'{"restore": {"restore_auth": {"password": "hunter2-secret"}}}')
        running.http.get("/servers", headers={"X-Auth-Token": "rst_wrong-but-still-somebodys"})
        recovery = place.restead("key", "export").strip()
        place.restead("key", "confirm", stdin=recovery + "\n")
        token = place.environment["RESTEAD_TOKEN"]
    log = place.log.read_bytes()
    key = (place.data / "key").read_bytes()
    for secret in (token.encode(), b"hunter2", b"still-somebodys", recovery.encode(), key, key.hex().encode()):
        assert secret not in log
    assert token.encode() not in b"".join(path.read_bytes() for path in place.data.glob("records.sqlite*"))


def test_it_warns_until_the_recovery_key_is_confirmed(place: Place, running: Running) -> None:
    """In the log at start, and in every status, until somebody has typed the right key."""
    warnings = running.get("/status")["status"]["warnings"]
    assert len(warnings) == 1
    assert "recovery key" in warnings[0]
    key = place.restead("key", "export").strip()
    assert len(running.get("/status")["status"]["warnings"]) == 1
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert place.run("key", "confirm", stdin=wrong + "\n").returncode == 4
    assert len(running.get("/status")["status"]["warnings"]) == 1
    confirmed = place.run("key", "confirm", stdin=key + "\n")
    assert confirmed.returncode == 0
    assert "the key came from a file or a program" in confirmed.stderr
    assert running.get("/status")["status"]["warnings"] == []


def test_the_recovery_key_opens_the_repository_after_the_key_file_is_lost(place: Place) -> None:
    """A new key file is made, and the backups are there."""
    with service(place) as first:
        _add_server(place)
        backup = first.wait_for_backup(first.begin_backup(_SERVER))["id"]
    key = place.restead("key", "export").strip()
    (place.data / "key").unlink()
    refused = place.run("serve", "--listen", "127.0.0.1:0")
    assert refused.returncode == 4
    assert "restead key recover" in refused.stderr
    place.restead("key", "recover", stdin=key + "\n")
    with service(place) as second:
        assert second.wait_for_restore(second.begin_restore(backup))["status"] == "success"


def test_a_passphrase_opens_it_instead_of_a_key_file(place: Place) -> None:
    """No key is left on the disk then; another passphrase opens nothing."""
    file = place.folder / "phrase"
    file.write_text("correct horse\n")
    file.chmod(0o600)
    place.environment["RESTEAD_PASSPHRASE_FILE"] = str(file)
    with service(place):
        assert not (place.data / "key").exists()
    file.write_text("wrong horse\n")
    refused = place.run("serve", "--listen", "127.0.0.1:0")
    assert refused.returncode == 4
    assert "the passphrase does not open this repository" in refused.stderr
    file.chmod(0o644)
    assert "has mode 0644" in place.run("serve", "--listen", "127.0.0.1:0").stderr
