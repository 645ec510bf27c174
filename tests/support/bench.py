"""What `hako bench` needs in the lab: QEMU to compare with, guests with a shell, a fast disk."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.hako import HAKO, ROOT

sys.path.insert(0, str(ROOT / "tools"))

from labhost.artifacts import ARTIFACTS  # noqa: E402
from labhost.recipes import lab_kernel, lab_qemu, quick  # noqa: E402

ROOT_DISK = Path("/dev/disk/by-id/virtio-root")


def peer(folder: Path) -> Path:
    """A program that is the lab's QEMU (Debian's, unpacked and not installed)."""
    *words, = lab_qemu.command(lab_qemu.BUNDLE.path())
    program = folder / "qemu"
    program.write_text("#!/bin/sh\nexec " + " ".join(words) + ' "$@"\n')
    program.chmod(0o755)
    return program


def initrd(folder: Path) -> Path:
    """An initramfs whose guests end in a root shell of the root image."""
    path = folder / "initrd"
    path.write_bytes(quick.with_script(ARTIFACTS["quick"].path(), b"exec /bin/sh\n"))
    return path


@contextlib.contextmanager
def null_disk(mib: int) -> Iterator[Path]:
    """A folder on ext4 on a block device in the lab host's memory, which completes requests as a fast disk does."""
    subprocess.run(["modprobe", "-d", lab_kernel.BUNDLE.path(), "null_blk", "nr_devices=1", "memory_backed=1",
                    f"gb={-(-mib // 1024)}", "submit_queues=2"], check=True)
    folder = Path("/run/hako-bench")
    folder.mkdir(exist_ok=True)
    try:
        subprocess.run(["mkfs.ext4", "-q", "/dev/nullb0"], check=True)
        subprocess.run(["mount", "/dev/nullb0", folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        subprocess.run(["rmmod", "null_blk"], check=True)


def allow_huge_pages() -> None:
    """Guest memory is a memory file: `hako doctor` advises this for hosts that shall be fast. QEMU's needs nothing."""
    Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled").write_text("advise")


def allow_vsock() -> None:
    """QEMU's vsock is the host kernel's."""
    subprocess.run(["modprobe", "-d", lab_kernel.BUNDLE.path(), "vhost_vsock"], check=True)


def words(subject: str, folder: Path, *arguments: object) -> list[str]:
    """`hako bench` on the lab's guests."""
    return [str(HAKO), "bench", subject, "--kernel", str(ARTIFACTS["kernel"].path()), "--initrd", str(initrd(folder)),
            "--cmdline", "console=ttyS0 panic=-1 mitigations=off hako.root=/dev/vda", "--image",
            str(ROOT_DISK.resolve()), "--peer", str(peer(folder)), "--daemon", str(ARTIFACTS["virtiofsd"].path()), "--memory", "512M",
            *map(str, arguments)]
