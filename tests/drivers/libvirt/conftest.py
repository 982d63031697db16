"""Clouds of libvirt for the tests beside this file."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.drivers.images.conftest import runtime, tmp_path  # noqa: F401  fixtures
from tests.lab.domains import embed_root, libvirtd

from restead.drivers.libvirt.connection import Connection

if TYPE_CHECKING:
    from tests.drivers.libvirt.cloud import LibvirtCloud

_NODE = """<node><cpu><mhz>1</mhz><model>x</model><active>1</active><nodes>1</nodes><sockets>1</sockets>
<cores>1</cores><threads>1</threads></cpu><memory>8000000</memory></node>"""

Cloud = Callable[..., "LibvirtCloud"]


@pytest.fixture(scope="session")
def embed() -> Iterator[Connection]:
    """Libvirt's QEMU driver in this process; all tests share it, since it can be begun only so many times."""
    root = embed_root()
    connection = Connection(f"qemu:///embed?root={root}")
    yield connection
    connection.close()
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def daemon() -> Iterator[Connection]:
    """A libvirtd of our own."""
    with libvirtd() as uri:
        connection = Connection(uri)
        yield connection
        connection.close()


@pytest.fixture
def clouds(tmp_path: Path, runtime: Path, request: pytest.FixtureRequest) -> Iterator[Cloud]:  # noqa: F811
    """Makes clouds; their domains are gone at the end."""
    from tests.drivers.libvirt.cloud import LibvirtCloud  # which skips where libvirt-python is missing

    made: list[LibvirtCloud] = []

    def make(
        kind: str, options: dict[str, object] | None = None, *, format: str = "raw", devices: bool = False
    ) -> LibvirtCloud:
        if kind == "test":
            node = tmp_path / "node.xml"
            node.write_text(_NODE)
            connection = Connection(f"test://{node}")
        else:
            connection = request.getfixturevalue(kind)
        made.append(LibvirtCloud(tmp_path, runtime, connection, options, format=format, devices=devices))
        return made[-1]

    yield make
    for cloud in made:
        cloud.close()
