"""The lab host's kernel: Debian's generic one (the cloud flavour lacks 9p), unpacked and not installed."""

from pathlib import Path

from .. import cache
from ..apt import Apt
from ..command import run


def make(folder: Path, _needed: list[Path]) -> None:
    """Puts vmlinuz and lib/modules of Debian's generic kernel into `folder`."""
    with Apt("bookworm", "bookworm-updates", "bookworm-security") as apt:
        package = apt.kernel_package("linux-image-amd64")
        with cache.step(f"fetching {package}"):
            apt.extract(package, folder)
    version = package.removeprefix("linux-image-")
    (folder / f"boot/vmlinuz-{version}").rename(folder / "vmlinuz")
    run("depmod", "-b", folder, version)


BUNDLE = cache.Bundle("lab-kernel", make, (Path(__file__),))
