"""PostgreSQL, a cluster of its own: on a Unix socket in a short folder, as an ordinary user, gone afterwards.

    with Cluster.running() as cluster:
        url = cluster.create("one")            # an empty database
        url = cluster.create("two", like="one")
        cluster.restart()

The programs are Debian's (`scripts/system-packages test`).  They refuse to run as root; root starts them as the
package's user `postgres`.  Files are in memory and never synced: nothing here has to outlive a power cut.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psycopg

_VERSIONS = Path("/usr/lib/postgresql")
_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",
    "max_connections": "200",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
}
USER = "restead"


def programs() -> Path:
    """Return the folder of the newest server's programs."""
    versions = sorted(_VERSIONS.glob("*/bin/initdb"), key=lambda path: float(path.parent.parent.name))
    assert versions, "no PostgreSQL server: apt-get install postgresql"
    return versions[-1].parent


class Cluster:
    """A PostgreSQL server with a folder of its own."""

    def __init__(self, data: Path, sockets: Path) -> None:
        self._data = data
        self._sockets = sockets
        self._programs = programs()

    @classmethod
    @contextmanager
    def running(cls, **settings: str) -> Iterator["Cluster"]:
        """Make a cluster, start it, and leave nothing of it behind.  *settings*: lines of postgresql.conf."""
        data, sockets = (Path(mkdtemp(prefix="restead-pg-", dir=where)) for where in (_IN_MEMORY, "/tmp"))
        cluster = cls(data / "data", sockets)
        try:
            for folder in (data, sockets):
                if os.geteuid() == 0:
                    os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
                folder.chmod(0o755)
            cluster._initialise(settings)
            cluster.start()
            yield cluster
            cluster.stop()
        finally:
            if (data / "data" / "postmaster.pid").exists():
                cluster.stop("immediate")
            shutil.rmtree(data)
            shutil.rmtree(sockets)

    def start(self) -> None:
        self._run("pg_ctl", "--silent", "-w", "-t", "120", "-l", str(self._sockets / "log"), "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "--silent", "-w", "-t", "120", "-m", how, "stop")

    def restart(self) -> None:
        """Stop it, breaking every connection, and start it again."""
        self.stop()
        self.start()

    def url(self, name: str) -> str:
        return f"postgresql://{USER}@/{name}?host={self._sockets}"

    def create(self, name: str, *, like: str = "template0") -> str:
        """Make a database, a copy of *like*; return its address."""
        how = "ENCODING 'UTF8' LOCALE 'C'" if like == "template0" else "STRATEGY wal_log"
        self.do(f'CREATE DATABASE "{name}" TEMPLATE "{like}" {how}')
        return self.url(name)

    def drop(self, name: str) -> None:
        self.do(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def do(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute one statement by itself; return the rows it gives, if it gives any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return [] if cursor.description is None else list(cursor.fetchall())

    def _initialise(self, settings: dict[str, str]) -> None:
        options = ("--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--wal-segsize=1")
        self._run("initdb", *options, f"--username={USER}")
        lines = {**_SETTINGS, "unix_socket_directories": str(self._sockets), **settings}
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())

    def _run(self, program: str, *options: str) -> None:
        user = "postgres" if os.geteuid() == 0 else None
        done = subprocess.run(
            [self._programs / program, "-D", self._data, *options],
            user=user, group=user, extra_groups=None if user is None else [], cwd="/", check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"
