"""Lab tests: real Linux guests. They run inside the lab, where KVM is real; see tests/lab/run."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hako import ROOT, Machine

#: The root image that the lab host has as a throw-away disk.
ROOT_DISK = Path("/dev/disk/by-id/virtio-root")


def pytest_collection_modifyitems(items):
    if "LAB_CONSOLES" not in os.environ:
        pytest.exit("tests/lab runs in the lab only: tests/lab/run", returncode=2)


def output(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def artifact(name: str) -> str:
    """The path of a lab artifact (tools/lab path)."""
    return output(ROOT / "tools" / "lab", "path", name)


@pytest.fixture
def root_disk() -> Iterator[Path]:
    """Debian's root disk as it was made: what a test's guests write to it stays in memory and ends with the test."""
    sectors = output("blockdev", "--getsz", ROOT_DISK)
    with tempfile.NamedTemporaryFile() as written:
        written.truncate(int(sectors) * 512)
        loop = output("losetup", "--find", "--show", written.name)
        without_udev = ("--noudevsync", "--noudevrules")
        try:
            subprocess.run(["dmsetup", "create", *without_udev, "hako-root", "--table",
                            f"0 {sectors} snapshot {ROOT_DISK.resolve()} {loop} N 8"], check=True)
            yield Path("/dev/dm-" + output("dmsetup", "info", "-c", "--noheadings", "-o", "minor", "hako-root"))
        finally:
            subprocess.run(["dmsetup", "remove", "--retry", *without_udev, "hako-root"], check=False)
            subprocess.run(["losetup", "--detach", loop], check=True)


@pytest.fixture
def quick(request, tmp_path, root_disk):
    """quick(script, *arguments, kernel="kernel"): a machine that runs `script` (sh) in a stock Debian user space
    under an unmodified Debian kernel, then powers off. Ends with the line HAKO-TEST-EXIT=<code>. `shared`: others may use the root disk too.
    `serial`: where the serial port goes; wait_for() and the like read it on "tty" only."""
    started = itertools.count()

    def start(script: str, *arguments: object, kernel: str = "kernel", root: bool = True, timeout: float = 300,
              cmdline: str = "", shared: bool = False, serial: str = "tty",
              memory: str = "1G") -> Machine:
        number = next(started)  # of the machines of one test, each reads files of its own
        file = tmp_path / f"script{number}"
        file.write_text(script)
        initrd = tmp_path / f"initrd{number}"
        subprocess.run([ROOT / "tools" / "lab", "quick-initrd", "--kernel", kernel, "--script", file, "--output",
                        initrd], check=True)
        disks = ["--disk", f"path={root_disk},serial=root" + (",readonly" if shared else "")] if root else []
        line = "console=ttyS0 panic=-1 " + ("hako.root=/dev/vda " if root else "") + cmdline
        return Machine("--kernel", artifact(kernel), "--initrd", initrd, "--cmdline", line.strip(), "--memory", memory,
                       *disks, *arguments, name=request.node.name + (f"-{number}" if number else ""),
                       timeout=timeout, serial=serial)

    return start


def assert_passed(outcome) -> None:
    """The guest's script ended well and the guest powered off."""
    assert "HAKO-TEST-EXIT=0" in outcome.console, outcome
    assert outcome.code == 0, outcome


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path) -> Iterator[None]:
    """What a test leaves would fill the lab host's memory, which the next ones need."""
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
