"""Whether being nicer than QEMU means anything to this machine's kernel."""

from pathlib import Path

IN_VAIN = ("backup_nice does nothing here: the kernel shares the processors evenly between sessions "
           "(kernel.sched_autogroup_enabled), and each QEMU has one of its own")  # fmt: skip


def is_in_vain(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> bool:
    """Tell whether the kernel weighs sessions and not threads: by autogroups, which count in no other group.

    Linux, kernel/sched/autogroup.c: only tasks of the root group of the controller `cpu` are put into them.
    """
    try:
        if (proc / "sys/kernel/sched_autogroup_enabled").read_text().strip() != "1":
            return False
        lines = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
    except OSError:  # this kernel has none
        return False
    for _, controllers, path in lines:
        if "cpu" in controllers.split(","):
            return path == "/"
    (path,) = [path for _, controllers, path in lines if not controllers] or ["/"]
    # One hierarchy for all: a group that has no weight of its own is in that of the next one above.
    own = groups / path.strip("/")
    return not any((each / "cpu.weight").exists() for each in (own, *own.parents) if each != groups)
