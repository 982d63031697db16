"""What the README tells people to type does what it says."""

import json
import re
import socket
import subprocess
from pathlib import Path

from tests.app.running import Place, Running
from tests.judges.conftest import ROOT, SIZE, back_up

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
    for name in ("web-1-system.raw", "web-1-data.raw"):
        place.disk(name, SIZE, seed=4)
    url = f"http://127.0.0.1:{_free_port()}"
    session = _replaced(_block("restead serve"), {
        "make install && . .venv/bin/activate\n": "trap 'kill $(jobs -p); wait' EXIT\n",
        "# A server is a name": f"until curl -sf {url}/v1 >/dev/null; do sleep 0.1; done\n# A server is a name",
        "/srv/images/": f"{tmp_path}/",
        "restead protect": f"cp {tmp_path}/web-1-data.raw kept\nrestead protect",
        "restead restore before-upgrade": (
            f"dd if=/dev/urandom of={tmp_path}/web-1-data.raw bs=1M count=2 conv=notrunc status=none\n"
            "restead restore --yes before-upgrade"
        ),
        "restead key export --data ./var": "key=$(restead key export --data ./var | tail -1)",
        "restead key confirm --data ./var": 'echo "$key" | restead key confirm --data ./var',
    })  # fmt: skip
    environment = {**place.environment, "RESTEAD_URL": url, "RESTEAD_LISTEN": url.removeprefix("http://")}
    for name in ("RESTEAD_DATA", "RESTEAD_PROJECT"):
        del environment[name]
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", f"{session}\ncmp kept {tmp_path}/web-1-data.raw && echo the same"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout} {done.stderr}"
    assert done.stdout.splitlines()[-1] == "the same"
