"""The lab host's initramfs: busybox, the modules the lab starts with, and its init script.

Every other module of the kernel is loaded on demand from this machine's cache: see lab-init.
"""

from pathlib import Path

from .. import cache, cpio, modules
from . import lab_kernel

HERE = Path(__file__).parent
BUSYBOX = Path("/bin/busybox")
MODULES = [
    "virtio_pci", "virtio_console", "9p", "9pnet_virtio", "virtio_blk", "virtio_rng",  # the lab's own devices
    "kvm-amd", "tun", "vhost_net", "bridge", "veth", "loop", "ext4", "dm-snapshot",  # what a VMM and its tests use
]


def make(folder: Path, needed: list[Path]) -> None:
    """Writes `initrd` into `folder`."""
    (kernel,) = needed
    with open(folder / "initrd", "wb") as file:
        archive = cpio.Writer(file)
        for directory in ("dev", "proc", "sys", "host", "tmp"):
            archive.directory(directory)
        archive.copy("bin/busybox", BUSYBOX, 0o755)
        archive.copy("init", HERE / "lab-init", 0o755)
        # The kernel loads what it finds missing (request_module) through this path, in the initramfs's own root.
        archive.symlink("sbin/modprobe", "/bin/busybox")
        archive.symlink("lib/modules", f"/host{kernel.resolve()}/lib/modules")
        modules.pack(archive, modules.ordered(kernel, MODULES))
        archive.close()


BUNDLE = cache.Bundle("lab-initrd", make, (Path(__file__), HERE / "lab-init", BUSYBOX), (lab_kernel.BUNDLE,))
