"""The root image: stock Debian 12 with systemd and cloud-init, and two kernels with their initrds: its own and a newer one.

Only documented configuration is changed, and only to spare emulated guests work that no test looks at.
"""

import re
import shutil
from pathlib import Path

from .. import apt, cache
from ..command import run

SIZE = "3G"
SUITES = ["bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports"]
PACKAGES = [
    "systemd-sysv", "udev", "dbus", "kmod", "initramfs-tools", "zstd", "linux-image-cloud-amd64",
    "cloud-init", "netplan.io", "iproute2", "iputils-ping", "openssh-server", "sudo",
    "util-linux", "e2fsprogs", "pciutils", "procps", "fio", "iperf3", "socat", "stress-ng",
]
MASKED = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
          "fstrim.timer"]
FILES = {
    "etc/fstab": "LABEL=root / ext4 defaults,errors=remount-ro 0 1\n",
    "etc/hostname": "debian\n",
    "etc/machine-id": "uninitialized\n",  # each machine gets its own on its first boot
    "etc/cloud/cloud.cfg.d/90_hako.cfg":
        "datasource_list: [NoCloud, None]\n"
        "ssh_genkeytypes: [ed25519]\n"  # an RSA key takes minutes under emulation
        "locale: C.UTF-8\n"  # the only one there is
        "apt: {preserve_sources_list: true}\n",
    # A guest without a DHCP server comes up all the same.
    "etc/systemd/system/systemd-networkd-wait-online.service.d/hako.conf":
        "[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=10\n",
}


def _bootstrap(tree: Path) -> None:
    """Makes the root file system in `tree`, the way it comes from Debian."""
    with apt.Apt("bookworm-backports") as backports:
        newer = backports.kernel_package("linux-image-cloud-amd64")
    with apt.options_file() as options:
        run("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--format=directory",
            f"--aptopt={options}", f"--include={','.join([*PACKAGES, newer])}",
            # How this machine reached the archive is no part of the image.
            '--customize-hook=rm -f "$1/etc/apt/sources.list" "$1/etc/apt/apt.conf.d/99mmdebstrap"',
            '--customize-hook=rm -rf "$1/var/log/apt" "$1/var/log/dpkg.log" "$1"/var/cache/apt/*.bin',
            "bookworm", tree, *apt.sources(*SUITES))


def _configure(tree: Path) -> None:
    """Writes FILES and switches MASKED off."""
    for name, content in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for unit in MASKED:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")


def make(folder: Path, _needed: list[Path]) -> None:
    """Writes root.img and, for each kernel, vmlinuz, initrd and its modules into `folder`."""
    tree = folder / "tree"
    with cache.step("installing Debian 12"):
        _bootstrap(tree)
    _configure(tree)
    with cache.step("writing the root image"):
        run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, folder / "root.img", SIZE)
    versions = sorted((path.name for path in (tree / "lib/modules").iterdir()), key=_numbers)
    for suffix, version in zip(("", "-new"), versions, strict=True):
        (tree / f"boot/vmlinuz-{version}").rename(folder / f"kernel{suffix}")
        (tree / f"boot/initrd.img-{version}").rename(folder / f"initrd{suffix}")
        modules = folder / f"modules{suffix}/lib/modules"
        modules.mkdir(parents=True)
        (tree / "lib/modules" / version).rename(modules / version)
    shutil.rmtree(tree)


def _numbers(version: str) -> list[int]:
    """Sorts kernel versions by age."""
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


BUNDLE = cache.Bundle("root", make, (Path(__file__),))
