"""What the README tells people to type does what it says."""

import json
import re
import socket
import subprocess
from pathlib import Path

from tests.app.running import Place, Running
from tests.judges.conftest import ROOT, back_up

_README = (ROOT / "README.md").read_text()


def _block(containing: str) -> str:
    """Return the first block of shell commands in the README with that text."""
    return next(block for block in re.findall(r"```sh\n(.*?)```", _README, re.DOTALL) if containing in block)


def _replaced(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text, f"the README does not say {old!r}"
        text = text.replace(old, new)
    return text


def test_the_curl_command_restores_a_server(web: Running) -> None:
    """Only the ids that the service gave, and the port, differ from what is printed."""
    disk = web.place.folder / "web.raw"
    saved, backup = disk.read_bytes(), back_up(web)
    disk.write_bytes(bytes(len(saved)))
    command = _replaced(_block("curl -X POST"), {
        "http://127.0.0.1:8799": web.url,
        "a2b9fb53-2770-4fcd-9bad-6cadd56e6c09": backup["checkpoint_id"],
        "504b7d59-c361-411f-9ed3-814f35d08e3d": backup["id"],
        "bc118c24-3234-4afd-8423-d66d3d677649": backup["extend_info"]["volume_backups"][0]["id"],
    })  # fmt: skip
    done = subprocess.run(
        ["bash", "-ec", command], env=web.place.environment, capture_output=True, text=True, check=True, timeout=60
    )
    restore = json.loads(done.stdout)["restore"]
    assert restore["status"] == "in_progress"
    assert web.wait_for_restore(restore["id"])["status"] == "success"
    assert disk.read_bytes() == saved
    assert (web.place.folder / "state").read_text() == "running\n"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_the_session_protects_ones_own_disks(tmp_path: Path) -> None:
    """From serve to a restored disk and a confirmed key, line by line; nobody sits at the terminal to be asked."""
    place = Place(tmp_path)
    url = f"http://127.0.0.1:{_free_port()}"
    protect = _replaced(_block("restead serve"), {
        "make install && . .venv/bin/activate\n": "trap 'kill $(jobs -p); wait' EXIT\n",
        "restead protect": "cp --sparse=always disks/system.raw kept\nrestead protect",
    })  # fmt: skip
    damage = "dd if=/dev/urandom of=disks/system.raw bs=1M count=2 conv=notrunc status=none\n"
    restore = _replaced(_block("shows what will be written"), {
        "restead restore before-upgrade": f"{damage}restead restore --yes before-upgrade",
        "restead key export; restead key confirm": "restead key export | tail -1 | restead key confirm",
    })  # fmt: skip
    by_curl = _replaced(_block("--print-request |"), {"http://127.0.0.1:8799": url})
    prove = "cmp kept disks/system.raw && echo the same"
    environment = {**place.environment, "RESTEAD_URL": url, "RESTEAD_LISTEN": url.removeprefix("http://")}
    for name in ("RESTEAD_DATA", "RESTEAD_PROJECT"):
        del environment[name]
    session = f"{protect}\n{restore}\n{prove}\n{damage}{by_curl}\n{_AWAIT_LAST_RESTORE}\n{prove}"
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", session],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout} {done.stderr}"
    assert done.stdout.count("the same\n") == 2


_AWAIT_LAST_RESTORE = "while restead restores list | grep in_progress; do sleep 0.2; done"
