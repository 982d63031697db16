"""Whether niceness counts between sessions, by what the kernel says of itself."""

from pathlib import Path

import pytest

from restead.app.niceness import is_in_vain

_TWO = "9:name=systemd:/\n3:cpuacct,cpu:{}\n0::/\n"
_ONE = "0::{}\n"


def _in_vain(folder: Path, enabled: str, groups: str, weighed: str = "") -> bool:
    (folder / "proc/sys/kernel").mkdir(parents=True)
    (folder / "proc/self").mkdir()
    (folder / "proc/sys/kernel/sched_autogroup_enabled").write_text(enabled)
    (folder / "proc/self/cgroup").write_text(groups)
    if weighed:
        (folder / "groups" / weighed).mkdir(parents=True)
        (folder / "groups" / weighed / "cpu.weight").write_text("100\n")
    return is_in_vain(folder / "proc", folder / "groups")


@pytest.mark.parametrize(("groups", "weighed", "vain"), [
    (_TWO.format("/"), "", True),
    (_TWO.format("/system.slice/restead.service"), "", False),
    (_ONE.format("/"), "", True),
    (_ONE.format("/system.slice/restead.service"), "", True),  # systemd has the controller off
    (_ONE.format("/system.slice/restead.service"), "system.slice/restead.service", False),
    (_ONE.format("/system.slice/restead.service"), "system.slice", False),
    (_ONE.format("/system.slice/restead.service"), "user.slice", True),
])  # fmt: skip
def test_autogroups_count_for_who_is_in_no_other_group(
    tmp_path: Path, groups: str, weighed: str, vain: bool
) -> None:
    assert _in_vain(tmp_path, "1\n", groups, weighed) is vain


def test_where_there_are_no_autogroups_niceness_counts(tmp_path: Path) -> None:
    assert not _in_vain(tmp_path, "0\n", _ONE.format("/"))
    assert not is_in_vain(tmp_path / "another-kernel")
