"""The names under which tests ask for what the recipes make."""

from dataclasses import dataclass
from pathlib import Path

from . import LabError, cache
from .recipes import lab_initrd, lab_kernel, lab_qemu, lab_virtiofsd, quick, root


@dataclass(frozen=True)
class Artifact:
    """A file of a bundle."""

    bundle: cache.Bundle
    file: str
    meaning: str

    def path(self) -> Path:
        """The file, built first where it is missing."""
        return self.bundle.path() / self.file


ARTIFACTS = {
    "lab-qemu": Artifact(lab_qemu.BUNDLE, lab_qemu.PROGRAM, "the lab host's emulator"),
    "lab-kernel": Artifact(lab_kernel.BUNDLE, "vmlinux", "the lab host's kernel"),
    "lab-initrd": Artifact(lab_initrd.BUNDLE, "initrd", "the lab host's initramfs"),
    "virtiofsd": Artifact(lab_virtiofsd.BUNDLE, "virtiofsd", "the daemon of shared directories, of Debian 13"),
    "root": Artifact(root.BUNDLE, "root.img", "the Debian 12 root image (ext4, label root)"),
    "kernel": Artifact(root.BUNDLE, "kernel", "its stock cloud kernel (6.1)"),
    "initrd": Artifact(root.BUNDLE, "initrd", "that kernel's stock initrd"),
    "kernel-new": Artifact(root.BUNDLE, "kernel-new", "the stock cloud kernel of bookworm-backports (6.12)"),
    "initrd-new": Artifact(root.BUNDLE, "initrd-new", "that kernel's stock initrd"),
    "quick": Artifact(quick.BUNDLE, "quick", "a small busybox initramfs for the kernel"),
    "quick-new": Artifact(quick.BUNDLE_NEW, "quick", "the same for kernel-new"),
}


def find(name: str) -> Artifact:
    """The artifact called `name`."""
    if name not in ARTIFACTS:
        raise LabError(f"there is no artifact '{name}': choose one of {', '.join(ARTIFACTS)}")
    return ARTIFACTS[name]
