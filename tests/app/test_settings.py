"""Where a setting comes from, and what is refused."""

from pathlib import Path

import pytest

from restead.domain.errors import InvalidRequest
from restead.places import default_data
from restead.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RESTEAD_{name.upper()}", raising=False)


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source counts only where those before it say nothing."""
    file = tmp_path / "restead.toml"
    file.write_text('runs = 3\nbackup_threads = 5\nlisten = "127.0.0.1:1"\n')
    monkeypatch.setenv("RESTEAD_BACKUP_THREADS", "6")
    monkeypatch.setenv("RESTEAD_LISTEN", "127.0.0.1:2")
    found = read_settings(file, listen="127.0.0.1:3", data=None)
    assert (found.listen, found.backup_threads, found.runs, found.restore_threads) == ("127.0.0.1:3", 6, 3, 4)


def test_the_default_file_is_read_only_if_it_exists(tmp_path: Path) -> None:
    assert read_settings().runs == 2
    folder = tmp_path / "config" / "restead"
    folder.mkdir(parents=True)
    (folder / "restead.toml").write_text("runs = 7\n")
    assert read_settings().runs == 7


def test_a_file_that_is_named_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="does not exist"):
        read_settings(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("run = 3", "run"),
        ("runs = 0", "runs"),
        ('listen = "8799"', "listen"),
        ('listen = "127.0.0.1:99999"', "listen"),
        ('tls_cert = "/a"', "tls_cert and tls_key go together"),
        ('passphrase = "a"\npassphrase_file = "/b"', "exclude each other"),
        ("runs = ", "restead.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "restead.toml"
    file.write_text(text)
    with pytest.raises(InvalidRequest, match=named):
        read_settings(file)


def test_a_secret_shows_in_no_text(tmp_path: Path) -> None:
    """Neither in the settings nor in the error about them."""
    assert "hunter2" not in repr(read_settings(passphrase="hunter2"))
    file = tmp_path / "restead.toml"
    file.write_text('passphrase = "hunter2"\npassphrase_file = "/x"\n')
    with pytest.raises(InvalidRequest) as caught:
        read_settings(file)
    assert "hunter2" not in str(caught.value)


def test_a_relative_folder_is_of_the_working_folder_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings(data="var").data == tmp_path / "var"


def test_the_data_folder_follows_the_xdg_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's is the system's; anybody else's is in their own data folder."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data() == Path("/var/lib/restead")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data() == tmp_path / "restead"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_data() == Path("/home/somebody/.local/share/restead")
