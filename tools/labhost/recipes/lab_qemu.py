"""The emulator of the lab host: QEMU from Debian's backports, unpacked and not installed.

Debian 12's own QEMU 7.2 miscomputes EFLAGS after cmpxchg16b under TCG: guests of the lab host, above all with kernels
newer than 6.1, die of a double fault every few boots. Both versions need the same libraries.
"""

from pathlib import Path

from .. import cache
from ..apt import Apt

PACKAGES = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"]
PROGRAM = "usr/bin/qemu-system-x86_64"
DATA = ["usr/share/qemu", "usr/share/seabios"]


def make(folder: Path, _needed: list[Path]) -> None:
    """Unpacks QEMU into `folder`."""
    with Apt("bookworm-backports") as apt:
        for package in PACKAGES:
            apt.extract(package, folder)


def command(folder: Path) -> list[str]:
    """How to start the QEMU in `folder`."""
    return [str(folder / PROGRAM), *(word for data in DATA for word in ("-L", str(folder / data)))]


BUNDLE = cache.Bundle("lab-qemu", make, (Path(__file__),))
