"""Whether KVM works is proven by booting, once for each boot of the machine."""

import json
import shutil
from pathlib import Path

import pytest

from restead.domain.errors import Unavailable
from restead.drivers.images.accel import Accel, Accelerator, boots


class Bench:
    """A program in QEMU's place that counts its calls, and a device that can be opened."""

    def __init__(self, folder: Path) -> None:
        self.calls, self.program, self.memory = folder / "calls", folder / "qemu", folder / "accel.json"
        self.device = folder / "kvm"
        self.device.touch()
        self.calls.touch()

    def accelerator(self, choice: Accel = Accel.AUTO) -> Accelerator:
        return Accelerator(choice, str(self.program), self.memory, self.device)

    def says(self, text: str) -> None:
        self.program.write_text(f"#!/bin/sh\necho call >> {self.calls}\n{text}\n")
        self.program.chmod(0o700)

    @property
    def count(self) -> int:
        return len(self.calls.read_text().splitlines())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_small_guest_boots_by_translation() -> None:
    program = shutil.which("qemu-system-x86_64")
    assert program
    assert boots(program, Accel.TCG)


def test_what_boots_is_believed_and_remembered(bench: Bench) -> None:
    bench.says("echo MG-READY")
    first = bench.accelerator()
    assert [first.accel(), first.accel(), bench.accelerator().accel()] == [Accel.KVM] * 3
    assert bench.count == 1


def test_what_hangs_or_fails_is_not_used(bench: Bench) -> None:
    for text in ("exit 1", "echo MG-MARKER", "exec sleep 60"):
        bench.says(text)
        bench.memory.unlink(missing_ok=True)
        assert bench.accelerator().accel() is Accel.TCG
    assert bench.count == 3


def test_another_boot_or_another_program_is_proven_anew(bench: Bench) -> None:
    bench.says("echo MG-READY")
    assert bench.accelerator().accel() is Accel.KVM
    remembered = json.loads(bench.memory.read_text())
    for key in (["other boot", *remembered["key"][1:]], []):
        bench.memory.write_text(json.dumps({**remembered, "key": key, "accel": "tcg"}))
        assert bench.accelerator().accel() is Accel.KVM
    for text in ("", "[]", "{}", json.dumps({**remembered, "accel": "warp"})):
        bench.memory.write_text(text)
        assert bench.accelerator().accel() is Accel.KVM
    assert bench.count == 7


def test_without_the_device_nothing_is_tried(bench: Bench) -> None:
    bench.says("echo MG-READY")
    bench.device.unlink()
    assert (bench.accelerator().accel(), bench.count) == (Accel.TCG, 0)


def test_what_is_chosen_is_not_questioned(bench: Bench) -> None:
    assert [bench.accelerator(choice).accel() for choice in (Accel.KVM, Accel.TCG)] == [Accel.KVM, Accel.TCG]


def test_a_missing_program_is_named(bench: Bench) -> None:
    with pytest.raises(Unavailable, match="install QEMU"):
        bench.accelerator().accel()
