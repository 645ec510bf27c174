"""The lab host's kernel: Debian's generic one (the cloud flavour lacks 9p), unpacked and not installed."""

import lzma
import struct
from pathlib import Path

from .. import cache
from ..apt import Apt
from ..command import run

XZ = b"\xfd7zXZ\0"


def _unpacked(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage: unpacking XZ under emulation takes 2 s, on each start; QEMU boots it by PVH."""
    sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[(sectors + 1) * 512 + offset:][:length]
    if not payload.startswith(XZ):
        return image
    return lzma.LZMADecompressor().decompress(payload)  # not lzma.decompress: the payload's size follows the stream


def make(folder: Path, _needed: list[Path]) -> None:
    """Puts the kernel and its lib/modules of Debian's generic kernel into `folder`."""
    with Apt("bookworm", "bookworm-updates", "bookworm-security") as apt:
        package = apt.kernel_package("linux-image-amd64")
        with cache.step(f"fetching {package}"):
            apt.extract(package, folder)
    version = package.removeprefix("linux-image-")
    (folder / "vmlinux").write_bytes(_unpacked((folder / f"boot/vmlinuz-{version}").read_bytes()))
    run("depmod", "-b", folder, version)


BUNDLE = cache.Bundle("lab-kernel", make, (Path(__file__),))
