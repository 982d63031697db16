"""Ctrl-C ends the waiting, not the work."""

import os
import signal
import subprocess
from pathlib import Path

from tests.app.running import PROJECT, RESTEAD, Place, listen_to_ctrl_c, service

_MIB = 1 << 20


def test_ctrl_c_while_waiting_says_that_the_restore_goes_on(tmp_path: Path) -> None:
    """The command ends with 130 and says how to watch it; the restore ends well."""
    place = Place(tmp_path)
    disk = place.disk("disk.raw", 256 * _MIB, seed=1)
    with service(place) as running:
        server = place.restead("server", "add", "web-1", "--project", PROJECT, "--disk", f"path={disk}").split()[-1]
        backup = running.wait_for_backup(running.begin_backup(server))["id"]
        wanted = disk.read_bytes()
        disk.write_bytes(os.urandom(256 * _MIB))
        command = subprocess.Popen(
            [RESTEAD, "restore", backup, "--yes", "--json"], env=place.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen_to_ctrl_c,
        )  # fmt: skip
        assert command.stdout is not None
        assert command.stdout.readline().startswith('{"progress": ')
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=60)
        id = running.get("/restores")["restores"][0]["id"]
        assert command.returncode == 130
        assert f"the restore goes on; watch it with: restead restores watch {id}" in said
        assert running.wait_for_restore(id)["status"] == "success"
    assert disk.read_bytes() == wanted
