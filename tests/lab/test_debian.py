"""Unmodified Debian kernels and user space under hako."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.lab.conftest import artifact, assert_passed
from tests.support.hako import Machine

#: Where images under test lie: the lab host's memory.
IMAGES = Path("/run")


def image(name: str, mib: int) -> Path:
    path = IMAGES / name
    with open(path, "wb") as file:
        file.truncate(mib << 20)
    return path


def section(console: str, name: str) -> str:
    """What the guest printed between `[name` and `name]`."""
    found = re.search(rf"\[{name}\r?\n(.*?){name}\]", console, re.DOTALL)
    assert found, f"the guest printed no section {name}"
    return found[1].replace("\r", "").strip()


INVENTORY = """
show() { echo "[$1"; shift; "$@"; }
show cpus nproc; echo "cpus]"
show pci lspci -nn; echo "pci]"
show blocks lsblk --bytes --noheadings --nodeps --output NAME,SIZE,RO; echo "blocks]"
show serials cat /sys/block/vda/serial; echo; cat /sys/block/vdb/serial; echo; echo "serials]"
show interrupts cat /proc/interrupts; echo "interrupts]"
show clock cat /sys/devices/system/clocksource/clocksource0/current_clocksource; echo "clock]"
show problems dmesg --level=emerg,alert,crit,err --notime; echo "problems]"
"""


@pytest.mark.parametrize("kernel, cpus", [("kernel", 1), ("kernel", 2), ("kernel-new", 4)])
def test_the_guest_sees_what_was_configured(quick, kernel, cpus):
    data = image("inventory.img", 64)
    with quick(INVENTORY, "--cpus", cpus, "--disk", f"path={data},readonly,serial=read-me,queues=2",
               kernel=kernel) as machine:
        outcome = machine.wait()
    assert_passed(outcome)
    assert section(outcome.console, "cpus") == str(cpus)
    pci = section(outcome.console, "pci")
    assert pci.count("[1af4:1042]") == 2, pci
    assert pci.splitlines()[-1].count("[1af4:1044]") == 1, pci  # entropy, behind the disks
    blocks = dict(line.split(maxsplit=1) for line in section(outcome.console, "blocks").splitlines())
    assert blocks["vdb"].split() == [str(64 << 20), "1"], blocks
    assert blocks["vda"].split()[1] == "0", blocks
    assert section(outcome.console, "serials").split() == ["root", "read-me"]
    interrupts = section(outcome.console, "interrupts")
    assert re.search(r"PCI-MSI.* virtio1-req\.0", interrupts), interrupts
    assert re.search(r"ttyS0", interrupts), interrupts
    assert section(outcome.console, "clock") == "kvm-clock"
    problems = [line for line in section(outcome.console, "problems").splitlines() if line.strip()]
    assert problems == [], problems


FIO = """
fio --name=verify --filename=/dev/vdb --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw --bsrange=512-64k \
    --size=48M --io_size=24M --verify=crc32c --verify_fatal=1 --fsync=64 --randseed=7 --minimal --output=/tmp/verify.log || exit 1
fio --name=trim --filename=/dev/vdb --direct=1 --ioengine=libaio --iodepth=4 --rw=randtrimwrite --bs=64k \
    --offset=32M --size=16M --verify=crc32c --fsync=32 --minimal --output=/tmp/trim.log || exit 2
blkdiscard --zeroout --offset 0 --length 4194304 /dev/vdb || exit 3
cmp --bytes 4194304 /dev/vdb /dev/zero || exit 4
blkdiscard --offset 4194304 --length 4194304 /dev/vdb || exit 5
dmesg --level=err | grep -i vdb && exit 6
exit 0
"""


def test_fio_verifies_its_data_on_a_file(quick):
    data = image("fio.img", 48)
    with quick(FIO, "--cpus", 2, "--disk", f"path={data},queues=2") as machine:
        assert_passed(machine.wait())


@pytest.fixture
def loop_device():
    """A 48 MiB loop device of the lab host."""
    backing = image("loop.img", 48)
    device = subprocess.run(["losetup", "--find", "--show", backing], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)
    backing.unlink()


def test_fio_verifies_its_data_on_a_block_device(quick, loop_device):
    with quick(FIO, "--disk", loop_device) as machine:
        assert_passed(machine.wait())


def test_a_read_only_disk_stays_as_it_is(quick):
    data = image("readonly.img", 8)
    before = data.read_bytes()
    with quick("dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync 2>/dev/null && exit 1; exit 0\n",
               "--disk", f"path={data},readonly") as machine:
        assert_passed(machine.wait())
    assert data.read_bytes() == before


def test_a_disk_that_grows_is_noticed(quick):
    data = image("grow.img", 16)
    script = """
echo "size is $(cat /sys/block/vdb/size)"
until [ "$(cat /sys/block/vdb/size)" != 32768 ]; do sleep 0.1; done
echo "size is $(cat /sys/block/vdb/size)"
"""
    with quick(script, "--disk", data) as machine:
        machine.wait_for("size is 32768")
        os.truncate(data, 24 << 20)
        machine.wait_for("size is 49152")
        assert_passed(machine.wait())


@pytest.mark.parametrize("how", ["", "reboot=acpi", "reboot=kbd"])
def test_reboot_starts_the_guest_again(quick, how):
    script = """
if [ "$(head -c 5 /dev/vdb)" = again ]; then echo SECOND LIFE; exit 0; fi
echo again | dd of=/dev/vdb bs=512 count=1 conv=sync,fsync 2>/dev/null
echo b > /proc/sysrq-trigger
sleep 60
exit 1
"""
    data = image("reboot.img", 4)
    with quick(script, "--disk", data, cmdline=how) as machine:
        outcome = machine.wait()
    assert_passed(outcome)
    assert "SECOND LIFE" in outcome.console


def test_a_panic_ends_the_machine_with_its_own_code(quick):
    with quick("echo c > /proc/sysrq-trigger\n", root=False) as machine:
        outcome = machine.wait()
    assert outcome.code == 4, outcome
    assert "Kernel panic" in outcome.console
    assert "panicked" in outcome.stderr


# The host name makes it another instance for cloud-init, which else would not run its modules again on the same disk.
USER_DATA = """#cloud-config
hostname: hako-{kernel}
runcmd:
  - [sh, -c, 'echo "GREETING from $(hostname), seed $(cloud-id)" > /dev/ttyS0']
power_state: {{mode: poweroff, delay: now}}
"""


@pytest.mark.parametrize("kernel, cpus", [("kernel", 2), ("kernel-new", 4)])
def test_debian_boots_with_its_own_initrd_systemd_and_cloud_init(tmp_path, root_disk, kernel, cpus):
    user_data = tmp_path / "user-data"
    user_data.write_text(USER_DATA.format(kernel=kernel))
    with Machine("--kernel", artifact(kernel), "--initrd", artifact(kernel.replace("kernel", "initrd")),
                 "--cmdline", "root=LABEL=root console=ttyS0 panic=-1", "--cpus", cpus, "--memory", "1G",
                 "--disk", f"path={root_disk}", "--cloud-init", user_data, name="debian", timeout=900) as machine:
        outcome = machine.wait()
    assert outcome.code == 0, outcome
    assert f"GREETING from hako-{kernel}, seed nocloud" in outcome.console, outcome
    assert "DataSourceNoCloud" in outcome.console, outcome
