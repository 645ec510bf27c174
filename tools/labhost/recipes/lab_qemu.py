"""The emulator of the lab host: QEMU 11 from Debian, unpacked with its libraries and not installed.

Older ones lose what a lab host's guest needs: 7.2 (Debian 12) forgets the interrupt shadow at VMRUN and miscomputes
EFLAGS after cmpxchg16b, 10.0 changes a CPU's pending interrupts without a lock at VMRUN.
"""

from pathlib import Path

from .. import apt, cache
from ..command import run

SUITES = ("trixie", "trixie-backports")
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
PROGRAM = "usr/bin/qemu-system-x86_64"
DATA = ("usr/share/qemu", "usr/share/seabios")


def make(folder: Path, _needed: list[Path]) -> None:
    """Unpacks QEMU and all it depends on into `folder`."""
    with cache.step("fetching QEMU"), apt.options_file() as options:
        run("mmdebstrap", "--quiet", "--variant=extract", "--mode=root", "--format=directory",
            f"--aptopt={options}", f'--aptopt=APT::Default-Release "{SUITES[-1]}"',
            "--include=qemu-system-x86", SUITES[0], folder, *apt.sources(*SUITES))


def command(folder: Path) -> list[str]:
    """How to start the QEMU in `folder`, with its own libraries."""
    return [str(folder / LOADER), "--library-path", str(folder / LIBRARIES), str(folder / PROGRAM),
            *(word for data in DATA for word in ("-L", str(folder / data)))]


BUNDLE = cache.Bundle("lab-qemu", make, (Path(__file__),))
