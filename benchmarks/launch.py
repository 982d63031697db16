"""Run one command and write down what it cost: `python -I -S launch.py RESULT LOG FLUSH COMMAND…`.

A program of its own, because a child begins with the peak memory of the process that started it: this one is
smaller than anything that is measured.  FLUSH names a file that the command writes and that must be on stable
storage before the clock stops ("" for none).  RESULT becomes JSON: status, seconds, cpu (seconds, user and
system, its own children's too), peak (bytes of the largest process), written (bytes sent to file systems that are
not in memory).
"""

import json
import os
import sys
import time


def _flush(path: str) -> None:
    for name in (path, os.path.dirname(path)):  # noqa: PTH120  pathlib would weigh more than the rest
        fd = os.open(name, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def _main(result: str, log: str, flush: str, command: list[str]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    before, start = time.process_time(), time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=files)
    _, status, usage = os.wait4(pid, 0)
    if flush and not status:
        _flush(flush)
    seconds, own = time.monotonic() - start, time.process_time() - before
    cost = {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime + own,
        "peak": usage.ru_maxrss * 1024,
        "written": usage.ru_oublock * 512,
    }
    with open(result, "w") as file:
        json.dump(cost, file)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
