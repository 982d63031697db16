"""OpenStack Swift with its S3 door, on loopback: a real object store for tests.

Four processes (account, container, object, proxy), one device, one copy of everything, from `.venv-swift`, which
`scripts/swift` makes.  Started in a second or two, ended by their process ids.

As a program, `python -m tests.lab.swift FOLDER`, it prints address, bucket, user and secret as JSON, and serves until
its input ends.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from tests.lab.bucket import Bucket

ROOT = Path(__file__).parent.parent.parent
VENV = ROOT / ".venv-swift"
USER, SECRET = "test:tester", "swift-secret-of-the-tests"

_RINGS = """
import sys
from swift.common.ring import RingBuilder
for name, port in zip(("account", "container", "object"), sys.argv[2:]):
    builder = RingBuilder(4, 1, 0)
    place = {"ip": "127.0.0.1", "port": int(port), "replication_ip": "127.0.0.1", "replication_port": int(port)}
    builder.add_dev({"region": 1, "zone": 1, "device": "disk", "weight": 1.0, **place})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""

_SWIFT = """
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = only
default = yes
"""

_STORAGE = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
log_level = ERROR
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
fallocate_reserve = 0
"""

_PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
log_level = ERROR
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck s3api tempauth proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:s3api]
use = egg:swift#s3api
allow_multipart_uploads = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
"""


@contextmanager
def swift(folder: Path) -> Iterator[Bucket]:
    """Run Swift on *folder*, whose file system must have extended attributes; yield a bucket in it."""
    if not (VENV / "bin" / "swift-proxy-server").exists():
        subprocess.run([ROOT / "scripts" / "swift"], check=True)
    _require_attributes(folder)
    ports = dict(zip(("account", "container", "object", "proxy"), _free_ports(4), strict=True))
    _configure(folder, ports)
    with ExitStack() as stack:
        for name, port in ports.items():
            stack.enter_context(_server(folder, name, port))
        bucket = Bucket(f"http://127.0.0.1:{ports['proxy']}", "backups", USER, SECRET)
        bucket.make()
        yield bucket


def _require_attributes(folder: Path) -> None:
    """Swift keeps what it knows of an object in extended attributes of its file."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        os.setxattr(folder, "user.restead", b"x")
    except OSError as error:
        raise RuntimeError(f"{folder} has no extended attributes, set TMPDIR to a folder that has: {error}") from error


def _configure(folder: Path, ports: dict[str, int]) -> None:
    (folder / "devices" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text(_SWIFT)
    (folder / "proxy-server.conf").write_text(_PROXY.format(port=ports["proxy"], folder=folder, secret=SECRET))
    storage = {name: port for name, port in ports.items() if name != "proxy"}
    for name, port in storage.items():
        (folder / f"{name}-server.conf").write_text(_STORAGE.format(name=name, port=port, folder=folder))
    command = [VENV / "bin" / "python", "-W", "ignore", "-c", _RINGS, folder, *map(str, storage.values())]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def _server(folder: Path, name: str, port: int) -> Iterator[None]:
    log = folder / f"{name}.log"
    program, settings = VENV / "bin" / f"swift-{name}-server", folder / f"{name}-server.conf"
    command = [VENV / "bin" / "python", "-W", "ignore", program, settings]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        _wait(process, port, log)
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    for _ in range(1200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{log.name} of Swift ended or never listened:\n{log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


if __name__ == "__main__":
    with swift(Path(sys.argv[1])) as bucket, suppress(KeyboardInterrupt):
        print(json.dumps(asdict(bucket)), flush=True)
        sys.stdin.read()
