"""Images that are made: empty ones that QEMU takes, holes where there are zeroes, and never over what is there."""

import errno
import os
import random
from pathlib import Path

import pytest
from tests.drivers.image_files import bytes_of, needs_qemu_nbd, qemu_img

from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.ids import VolumeId
from restead.drivers.disks.qcow2 import empty_image
from restead.drivers.images import ImagesDriver, NewImage, fresh

_MIB = 1 << 20
_ONE = VolumeId("one")
formats = pytest.mark.parametrize("format", ["raw", pytest.param("qcow2", marks=needs_qemu_nbd)])


@pytest.fixture
def driver(tmp_path: Path) -> ImagesDriver:
    return ImagesDriver(tmp_path / "own", tmp_path)


@needs_qemu_nbd
@pytest.mark.parametrize("size", [512, 65536, 512 * _MIB, 512 * _MIB + 512, 5 << 40, (17 << 40) + 1536])
def test_an_empty_image_is_what_qemu_takes_for_one(tmp_path: Path, size: int) -> None:
    """Checked, of the right size, and nothing in it is allocated; also where the first level is many clusters."""
    path = tmp_path / "empty.qcow2"
    path.write_bytes(empty_image(size))
    assert "No errors were found" in qemu_img("check", str(path))
    about = qemu_img("info", "--output=json", str(path))
    assert f'"virtual-size": {size},' in about
    assert '"compat": "1.1"' in about


def test_an_image_larger_than_qemu_opens_is_refused() -> None:
    """The first level of 2 PiB is 32 MiB, which QEMU opens; one sector more is refused here, not there."""
    assert len(empty_image(2 << 50)) == (32 << 20) + 3 * 65536
    with pytest.raises(OSError, match="too large") as caught:
        empty_image((2 << 50) + 512)
    assert caught.value.errno == errno.EFBIG


@formats
def test_what_is_written_is_there_and_zeroes_are_holes(tmp_path: Path, driver: ImagesDriver, format: str) -> None:
    """Also zeroes in the middle of what is written at once, at any place; the rest of the file is nothing."""
    path, size, rng = tmp_path / "a", 24 * _MIB + 512, random.Random(7)
    wanted = bytearray(size)
    with driver.new_images({_ONE: NewImage(path, format, size)}) as targets:
        target = targets[_ONE]
        assert (target.size, next(iter(target.extents(0, size))).data) == (size, False)
        for at in range(0, size, 2 * _MIB):
            end = min(at + 2 * _MIB, size)
            for start in (at + 512, at + 300_000, end - 100):
                if start < end:
                    wanted[start : start + 90] = rng.randbytes(90)
            target.write_at(at, bytes(wanted[at:end]))
        target.flush()
        assert not path.exists()
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith("a")) == ["a"]
    assert bytes_of(path, format) == wanted
    # Three pieces of 64 KiB in each 2 MiB hold something.
    assert path.stat().st_blocks * 512 <= 13 * 3 * 65536 + 5 * 65536
    assert path.stat().st_mode & 0o777 == 0o600


@formats
def test_nothing_that_is_there_is_touched(tmp_path: Path, driver: ImagesDriver, format: str) -> None:
    """A file, a link that leads nowhere, what an export has left that was cut short, a folder that is not there."""
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    left = tmp_path / "left.part"
    left.write_text("mine, too")
    for path, words in {
        there: "there is there already: nothing is overwritten",
        link: "link is there already",
        tmp_path / "left": "left.part is there: left is being made, or that was cut short",
        tmp_path / "no" / "folder": "there is no folder",
    }.items():
        first = tmp_path / "first"
        images = {_ONE: NewImage(first, format, _MIB), VolumeId("two"): NewImage(path, format, _MIB)}
        with pytest.raises(InvalidRequest, match=words), driver.new_images(images):
            raise AssertionError("it was opened")
        assert not list(tmp_path.glob("first*"))
    assert (there.read_text(), left.read_text(), link.is_symlink()) == ("mine", "mine, too", True)


@formats
def test_what_comes_there_meanwhile_stays(tmp_path: Path, driver: ImagesDriver, format: str) -> None:
    """And then none of the others is there either."""
    one, two = tmp_path / "one", tmp_path / "two"
    images = {_ONE: NewImage(one, format, _MIB), VolumeId("two"): NewImage(two, format, _MIB)}
    with pytest.raises(InvalidRequest, match="two is there already"), driver.new_images(images):
        two.write_text("mine")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["two"]
    assert two.read_text() == "mine"


@formats
@pytest.mark.parametrize("error", [KeyboardInterrupt(), Unavailable("the store is away")], ids=["ctrl-c", "error"])
def test_nothing_is_left_of_what_was_not_finished(
    tmp_path: Path, driver: ImagesDriver, format: str, error: BaseException
) -> None:
    path = tmp_path / "a"

    def make() -> None:
        with driver.new_images({_ONE: NewImage(path, format, _MIB)}) as targets:
            targets[_ONE].write_at(0, b"x" * 65536)
            raise error

    with pytest.raises(type(error)):
        make()
    assert not [each for each in tmp_path.iterdir() if each.is_file()]


def test_a_file_system_without_links(
    tmp_path: Path, driver: ImagesDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT has none: the name is taken first, then given to the whole image."""

    def link(source: object, target: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(fresh.os, "link", link)
    path, there = tmp_path / "a", tmp_path / "b"
    with driver.new_images({_ONE: NewImage(path, "raw", _MIB)}) as targets:
        targets[_ONE].write_at(0, b"x" * 512)
        targets[_ONE].flush()
    assert path.read_bytes()[:513] == b"x" * 512 + b"\0"
    with pytest.raises(InvalidRequest), driver.new_images({_ONE: NewImage(there, "raw", _MIB)}):
        there.write_text("mine")
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["a", "b"]
    assert there.read_text() == "mine"


def test_a_replaced_file_beside_the_place_is_no_image(tmp_path: Path, driver: ImagesDriver) -> None:
    """Somebody puts another file where ours is under way: it is not given the name, and not removed."""
    path, part = tmp_path / "a", tmp_path / "a.part"
    other = tmp_path / "other"
    other.write_text("mine")
    with pytest.raises(Unavailable, match="was replaced"), driver.new_images({_ONE: NewImage(path, "raw", _MIB)}):
        other.replace(part)
    assert (path.exists(), part.read_text()) == (False, "mine")
