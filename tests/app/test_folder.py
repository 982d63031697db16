"""The data folder's locks, and the short folder for sockets."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from restead.app.folder import DataFolder
from restead.domain.errors import InvalidRequest, Unavailable


@pytest.fixture(autouse=True)
def _own_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_the_second_service_is_told_of_the_first(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "data")
    with first.setting_up():
        first.occupy("127.0.0.1:0")
    first.announce("http://127.0.0.1:4711")
    with second.setting_up() as holder:
        assert holder is not None
        assert (holder.pid, holder.listen) == (os.getpid(), "http://127.0.0.1:4711")
        with pytest.raises(Unavailable, match=rf"process {os.getpid()}, since .* listening on http://127.0.0.1:4711"):
            second.occupy("127.0.0.1:0")
    first.close()
    with second.setting_up() as holder:
        assert holder is None
        second.occupy("127.0.0.1:0")
    second.close()


def test_sockets_stay_where_they_were_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command from cron has no XDG_RUNTIME_DIR, and has to find the machines that run all the same."""
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() or 0)
    session = tmp_path / "session"
    session.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    folder = DataFolder(tmp_path / "data")
    with folder.setting_up():
        wanted = folder.runtime(session / "chosen")
        assert folder.runtime(None) == wanted
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert folder.runtime(None) == wanted
        wanted.rmdir()
        assert folder.runtime(None) == wanted, "made anew after a reboot"


def test_an_empty_runtime_folder_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But it stays while a service runs, while a machine's socket is in it, and where an operator has chosen it."""
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() or 0)
    monkeypatch.setattr("os.access", lambda *_: False)  # /run is not ours
    session = tmp_path / "session"
    session.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    folder, service = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "data")
    with folder.setting_up():
        chosen = folder.runtime(None)
    assert chosen.parent == session
    socket = chosen / "web-1.qmp"
    socket.touch()
    folder.give_back_runtime()
    assert chosen.exists(), "a machine's socket is in it"
    socket.unlink()
    with service.setting_up():
        service.occupy("127.0.0.1:0")
    folder.give_back_runtime()
    assert chosen.exists(), "a service runs"
    service.close()
    folder.give_back_runtime()
    assert not chosen.exists()
    with folder.setting_up():
        wanted = folder.runtime(session / "restead-mine")
    folder.give_back_runtime()
    assert wanted.exists(), "an operator has chosen it"


def test_a_runtime_folder_that_somebody_else_can_enter_is_refused(tmp_path: Path) -> None:
    """Whoever reaches a machine's socket commands the machine."""
    folder, open_to_all = DataFolder(tmp_path / "data"), tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with folder.setting_up():
        with pytest.raises(InvalidRequest, match="mode 0777"):
            folder.runtime(open_to_all)
        with pytest.raises(InvalidRequest, match="not a folder"):
            folder.runtime(link)


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((InvalidRequest, Unavailable), match=r"file"):
        DataFolder(tmp_path / "file")
