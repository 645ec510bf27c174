"""Devices that come and go while a stock Debian guest works."""

import os
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.conftest import assert_passed
from tests.lab.test_debian import image
from tests.lab.test_net import HOST, SET_UP, ip, iperf_server, tap  # noqa: F401 (a fixture)
from tests.support.api import Api, ApiError
from tests.support.resident import resident

SOCKET = Path("/run/hako-api.sock")

#: cycle N: sees the i-th disk and interface come, uses them, and sees them go.
WATCH = """
with_serial() {
    grep -lsx "$1" /sys/block/vd?/serial | cut -d/ -f4
}
cycle() {
    until name=$(with_serial hot$1) && [ -b "/dev/$name" ]; do sleep 0.05; done
    dd if=/dev/$name of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null || { echo "CANNOT READ $name"; exit 20; }
    echo "CAME $1"
    while [ -e /sys/block/$name ]; do sleep 0.05; done
    echo "WENT $1"
    until [ -e /sys/class/net/eth1 ]; do sleep 0.05; done
    ip link set eth1 up
    echo "CAME net$1"
    while [ -e /sys/class/net/eth1 ]; do sleep 0.05; done
    echo "WENT net$1"
}
"""

LOAD = f"""
(until [ -e /run/stop ]; do
    fio --name=load --filename=/dev/vdb --direct=1 --ioengine=libaio --iodepth=8 --rw=randrw --bsrange=4k-64k \
        --size=16M --io_size=8M --verify=crc32c --verify_fatal=1 --minimal >/run/fio.log 2>&1 || echo LOAD FAILED
done) & fio=$!
(until [ -e /run/stop ]; do iperf3 --client {HOST} --time 2 >/run/iperf.log 2>&1 || echo LOAD FAILED; done) & iperf=$!
"""


def resources(pid: int) -> dict[str, int]:
    """What hako has open and mapped, beside guest memory."""
    names = [comm.read_text() for comm in Path(f"/proc/{pid}/task").glob("*/comm")]
    # The kernel's io-wq workers come and go as it sees fit.
    threads = [name for name in names if not name.startswith("iou-wrk")]
    return {"fds": len(os.listdir(f"/proc/{pid}/fd")), "threads": len(threads), "kib": resident(pid).other >> 10}


def settled(pid: int, fds: int) -> dict[str, int]:
    """What it has once it has no more than `fds` files, or after 30 s: an eject is what the guest does last."""
    deadline = time.monotonic() + 30
    while (now := resources(pid))["fds"] > fds and time.monotonic() < deadline:
        select.select([], [], [], 0.1)
    return now


@pytest.fixture
def hot_taps():
    names = ["hako-hot0", "hako-hot1"]
    for name in names:
        ip("tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr")
    yield names
    for name in names:
        subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL)


def test_disks_and_nets_come_and_go_under_load_and_leave_nothing(quick, tap, hot_taps):  # noqa: F811
    cycles = 50
    images = [image("hot0.img", 8), image("hot1.img", 8)]
    script = SET_UP + WATCH + LOAD + f"""
for i in $(seq {cycles}); do cycle $i; done
touch /run/stop
wait $fio $iperf
ls /dev/vd?
dmesg --level=emerg,alert,crit,err | grep . && exit 30
echo CLEAN
read -r go
exit 0
"""
    wire = tap()
    with iperf_server():
        with quick(script, "--disk", image("load.img", 16), "--net", f"tap={wire}", "--cpus", 2, "--api-socket", SOCKET,
                   timeout=1500) as machine:
            machine.wait_for("mac ")
            with Api(SOCKET) as api:
                before: dict[str, int] = {}
                for i in range(1, cycles + 1):
                    added = api.put("vm.add-disk", {"id": f"hot{i}", "path": str(images[i % 2]), "serial": f"hot{i}"})
                    assert added["id"] == f"hot{i}" and added["bdf"].startswith("0000:00:"), added
                    machine.wait_for(f"CAME {i}\r")
                    api.put("vm.remove-device", {"id": f"hot{i}"})
                    machine.wait_for(f"WENT {i}\r")
                    api.put("vm.add-net", {"id": f"net{i}", "tap": hot_taps[i % 2]})
                    machine.wait_for(f"CAME net{i}\r")
                    api.put("vm.remove-device", {"id": f"net{i}"})
                    machine.wait_for(f"WENT net{i}\r")
                    if i == 5:  # by now the load has touched most of what the devices that stay have
                        before = resources(machine.pid)
                machine.wait_for("CLEAN")
                gone = api.put("vm.add-disk", {"path": str(images[0])})
                assert gone["id"] == "_disk2"
                api.put("vm.remove-device", {"id": gone["id"], "force": True})
                after = settled(machine.pid, before["fds"])
                machine.type("\n")
            outcome = machine.wait()
    assert_passed(outcome)
    assert "LOAD FAILED" not in outcome.console
    assert after["fds"] <= before["fds"], (before, after)
    assert after["threads"] == before["threads"], (before, after)
    # What one device keeps, 45 times, is far more.
    assert after["kib"] < before["kib"] + 1024, (before, after)


def test_a_disk_is_taken_from_a_guest_without_asking(quick):
    disk = image("stubborn.img", 8)
    script = """
echo READY
read -r go
until [ ! -e /sys/block/vdb ]; do sleep 0.05; done
dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null || exit 2
exit 0
"""
    with quick(script, "--disk", f"path={disk},id=stubborn", "--api-socket", SOCKET) as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            with pytest.raises(ApiError) as missing:
                api.put("vm.remove-device", {"id": "nobody"})
            assert missing.value.status == 404 and "nobody" in str(missing.value)
            with pytest.raises(ApiError) as taken:
                api.put("vm.add-disk", {"id": "stubborn", "path": str(disk)})
            assert taken.value.status == 409
            with pytest.raises(ApiError) as refused:
                api.put("vm.remove-device", {"id": "__rng"})
            assert refused.value.status == 400
            api.put("vm.remove-device", {"id": "stubborn", "force": True})
            with pytest.raises(ApiError) as again:
                api.put("vm.remove-device", {"id": "stubborn"})
            assert again.value.status == 404
        machine.type("\n")
        assert_passed(machine.wait())


def test_the_link_goes_down_and_up(quick, tap):  # noqa: F811
    script = SET_UP + f"""
echo CONNECTED
while [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.05; done
ping -c 1 -W 1 {HOST} && exit 1
echo UNPLUGGED
while [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do sleep 0.05; done
until ping -c 1 -W 1 {HOST} >/dev/null; do :; done
exit 0
"""
    with quick(script, "--net", f"tap={tap()},id=wire", "--api-socket", SOCKET) as machine:
        machine.wait_for("CONNECTED")
        with Api(SOCKET) as api:
            api.put("vm.set-link", {"id": "wire", "up": False})
            machine.wait_for("UNPLUGGED")
            api.put("vm.set-link", {"id": "wire", "up": True})
        assert_passed(machine.wait())


def test_a_guest_that_never_answers_keeps_its_device(quick):
    script = """
echo READY
read -r go
dd if=/dev/vdb of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null || exit 2
exit 0
"""
    disk = image("kept.img", 8)
    with quick(script, "--disk", f"path={disk},id=kept", "--api-socket", SOCKET, cmdline="acpiphp.disable=1") as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            for _ in range(3):
                api.put("vm.remove-device", {"id": "kept"})
            with pytest.raises(ApiError) as taken:
                api.put("vm.add-disk", {"id": "kept", "path": str(disk)})
            assert taken.value.status == 409
        machine.type("\n")
        assert_passed(machine.wait())


def test_a_guest_that_never_answers_loses_a_disk_that_is_taken(quick):
    script = """
echo READY
read -r go
dd if=/dev/vdb of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null && exit 1
dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null || exit 2
exit 0
"""
    disk = image("taken.img", 8)
    with quick(script, "--disk", f"path={disk},id=taken", "--api-socket", SOCKET, cmdline="acpiphp.disable=1") as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            api.put("vm.remove-device", {"id": "taken", "force": True})
            assert api.put("vm.add-disk", {"id": "taken", "path": str(disk)})["id"] == "taken"
        machine.type("\n")
        assert_passed(machine.wait())


@pytest.mark.parametrize("force", [False, True])
def test_a_disk_goes_in_the_middle_of_its_work(quick, force):
    script = """
fio --name=load --filename=/dev/vdb --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw --bs=4k --time_based \
    --runtime=600 --minimal >/run/fio.log 2>&1 &
until [ "$(awk '{ print $1 }' /sys/block/vdb/stat)" -gt 200 ]; do sleep 0.05; done
echo BUSY
until [ ! -e /sys/block/vdb ]; do sleep 0.05; done
wait
dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null || exit 2
exit 0
"""
    with quick(script, "--disk", f"path={image('busy.img', 16)},id=busy", "--cpus", 2, "--api-socket", SOCKET) as machine:
        machine.wait_for("BUSY")
        with Api(SOCKET) as api:
            api.put("vm.remove-device", {"id": "busy", "force": force})
        assert_passed(machine.wait())
