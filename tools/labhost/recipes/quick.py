"""A small initramfs for a guest: busybox and exactly the modules that virtio needs. See quick-init for what it does."""

import io
from pathlib import Path

from .. import cache, cpio, modules
from . import root

HERE = Path(__file__).parent
BUSYBOX = Path("/bin/busybox")
MODULES = [
    "virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng", "virtio_balloon", "virtio_mem",
    "virtiofs", "vmw_vsock_virtio_transport", "ext4", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8", "overlay",
    "loop", "8250", "pvpanic-mmio", "pvpanic-pci", "vmgenid", "i6300esb",
]


def _maker(suffix: str):
    def make(folder: Path, needed: list[Path]) -> None:
        (system,) = needed
        with open(folder / "quick", "wb") as file:
            archive = cpio.Writer(file)
            for directory in ("dev", "proc", "sys", "run", "tmp", "newroot", "etc"):
                archive.directory(directory)
            archive.copy("bin/busybox", BUSYBOX, 0o755)
            archive.copy("init", HERE / "quick-init", 0o755)
            tree = system / f"modules{suffix}"
            modules.pack(archive, modules.ordered(tree, MODULES))
            archive.close()

    return make


def with_script(quick: Path, script: bytes) -> bytes:
    """The quick initramfs followed by one that adds `script` as /hako-test."""
    addition = io.BytesIO()
    archive = cpio.Writer(addition)
    archive.file("hako-test", script, 0o755)
    archive.close()
    return quick.read_bytes() + addition.getvalue()


INPUTS = (Path(__file__), HERE / "quick-init", BUSYBOX)
BUNDLE = cache.Bundle("quick", _maker(""), INPUTS, (root.BUNDLE,))
BUNDLE_NEW = cache.Bundle("quick-new", _maker("-new"), INPUTS, (root.BUNDLE,))
