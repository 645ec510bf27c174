"""Clones of one snapshot: each is a machine of its own, to itself and to its network."""

import contextlib
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.lab.conftest import artifact
from tests.lab.test_net import ip
from tests.support.hako import ROOT
from tests.support.serve import Server

NET = "10.77.0"
HOST = f"{NET}.1"
PORT = 7000
CLONES = 20

#: What an agent in the guest does: it takes over what the seed says as soon as there is another interface.
SCRIPT = f"""
address() {{ cat /sys/class/net/eth0/address 2>/dev/null; }}
# seed OLD: reads cloud-init's disk into /run/seed, once it is another instance than OLD.
seed() {{
    mkdir -p /run/disk
    while :; do
        for disk in /sys/block/vd?; do
            [ "$(cat $disk/serial 2>/dev/null)" = cidata ] || continue
            mount -t iso9660 -o ro /dev/${{disk##*/}} /run/disk 2>/dev/null || continue
            rm -rf /run/seed && cp -r /run/disk /run/seed
            umount /run/disk
            instance=$(sed -n 's/^instance-id: *//p' /run/seed/meta-data | tr -d '"')
            [ -n "$instance" ] && [ "$instance" != "$1" ] && return
        done
        usleep 50000
    done
}}
random() {{ head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; }}
join() {{
    name=$(sed -n 's/^local-hostname: *//p' /run/seed/meta-data | tr -d '"')
    hostname "$name"
    ip address add $(grep -o '{NET}[.0-9]*/24' /run/seed/network-config) dev eth0
    ip link set eth0 up
    until ping -c 1 -W 1 {HOST} >/dev/null; do :; done
}}
seed ""
join
random >/dev/null
old=$(address)
echo "GOLDEN $(hostname)"
while [ -z "$(address)" ] || [ "$(address)" = "$old" ]; do usleep 50000; done
now=$(date +%s)
first=$(random)
seed "$instance"
join
until echo "$(hostname) $(address)" | nc {HOST} {PORT}; do usleep 100000; done
forks=$(dmesg | grep -c "crng reseeded due to virtual machine fork")
echo "CLONE $(hostname) $(address) $first $now $forks."
sleep 100000
"""


def mac(number: int) -> str:
    return f"02:00:00:00:77:{number:02x}"


def seed(number: int, name: str) -> dict:
    return {"user_data": "", "hostname": name, "instance_id": f"iid-{name}",
            "network_config": f"version: 2\nethernets:\n  eth0:\n    match: {{macaddress: '{mac(number)}'}}\n"
                              f"    addresses: [{NET}.{number}/24]\n"}


@pytest.fixture
def bridge():
    """bridge(): a new tap on a bridge of the lab host with the address HOST."""
    taps = []
    ip("link", "add", "hako-br", "type", "bridge")
    ip("address", "add", f"{HOST}/24", "dev", "hako-br")
    ip("link", "set", "hako-br", "up")

    def make() -> str:
        taps.append(f"hako-c{len(taps)}")
        ip("tuntap", "add", "dev", taps[-1], "mode", "tap", "vnet_hdr")
        ip("link", "set", taps[-1], "master", "hako-br", "up")
        return taps[-1]

    yield make
    for tap in taps:
        subprocess.run(["ip", "link", "del", tap], stderr=subprocess.DEVNULL)
    ip("link", "del", "hako-br")


@contextlib.contextmanager
def listener():
    """A dictionary of what each peer, by address, tells the host."""
    told: dict[str, str] = {}
    with socket.create_server((HOST, PORT), backlog=64) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, (address, _) = listening.accept()
                    with peer:
                        told[address] = peer.makefile().readline().strip()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield told
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def memory(pid: int) -> dict[str, int]:
    """KiB: what the process has mapped and there, and its share of it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {name: sizes[name] for name in ("Rss", "Pss", "Private_Dirty")}


def test_twenty_clones_of_one_snapshot_are_machines_of_their_own(tmp_path, bridge):
    (tmp_path / "script").write_text(SCRIPT)
    subprocess.run([ROOT / "tools" / "lab", "quick-initrd", "--kernel", "kernel-new", "--script", tmp_path / "script",
                    "--output", tmp_path / "initrd"], check=True)
    folder = tmp_path / "snapshot"
    folder.mkdir()
    config = {"payload": {"kernel": artifact("kernel-new"), "initramfs": str(tmp_path / "initrd"),
                          "cmdline": "console=ttyS0 panic=-1 mitigations=off"},
              "memory": {"size": 192 << 20}, "serial": {"mode": "Tty"}, "console": {"mode": "Off"},
              "net": [{"id": "lan", "tap": bridge(), "mac": mac(99)}], "cloud_init": seed(99, "golden")}
    with Server(tmp_path) as golden, golden.api(timeout=120) as api:
        api.put("vm.create", config)
        api.put("vm.boot")
        golden.wait_for("GOLDEN golden", timeout=200)
        print(api.put("vm.snapshot", {"destination_url": f"file://{folder}", "live": True}))
        # The golden guest stays on the network while its copies come.
        with contextlib.ExitStack() as stack, listener() as told:
            clones = []
            began = time.monotonic()
            for number in range(10, 10 + CLONES):
                home = tmp_path / f"clone{number}"
                home.mkdir()
                clone = stack.enter_context(Server(home))
                before = int(time.time())
                with clone.api(timeout=120) as other:
                    other.put("vm.restore", {
                        "source_url": f"file://{folder}", "memory_restore_mode": "OnDemand", "resume": True,
                        "net": [{"id": "lan", "tap": bridge(), "mac": mac(number)}],
                        "cloud_init": seed(number, f"clone-{number}")})
                clones.append((number, clone, before))
            seen = []
            for number, clone, before in clones:
                clone.wait_for("CLONE ", timeout=300)
                name, address, random, now, forks = clone.wait_for(".\r\n").split()
                assert (name, address) == (f"clone-{number}", mac(number))
                assert forks == "1", "Linux has not heard of its new VM generation ID"
                assert before <= int(now) <= time.time(), "the time of day is wrong after the restore"
                seen.append(random)
            print(f"{CLONES} clones are on the network {time.monotonic() - began:.0f} s after the first was restored")
            assert all(re.fullmatch("[0-9a-f]{32}", random) for random in seen), seen
            assert len(set(seen)) == CLONES, seen
            assert told == {f"{NET}.{number}": f"clone-{number} {mac(number)}" for number, _, _ in clones}
            for number, clone, _ in clones:
                with clone.api() as other:
                    info = other.get("vm.info")
                    assert info["config"]["net"][0]["mac"] == mac(number)
                    events = other.ask("GET", "/api/v1/events?follow=false&since=0").body.decode()
                    assert "net-updated" in events and "helper-updated" in events
            used = [memory(clone.pid) for _, clone, _ in clones]
            for name in used[0]:
                each = sorted(one[name] for one in used)
                print(f"{name} of a clone: {each[0]} to {each[-1]} KiB, {sum(each) // CLONES} on average")
            assert subprocess.run(["busybox", "ping", "-c", "1", "-W", "10", f"{NET}.99"], stdout=subprocess.DEVNULL).returncode == 0
            assert "CLONE" not in golden.console_text()


#: A Debian guest that becomes another instance when cloud-init's disk does.
CLOUD_CONFIG = """#cloud-config
write_files:
  - path: /etc/udev/rules.d/90-clone.rules
    content: |
      ACTION=="add", SUBSYSTEM=="block", ATTR{serial}=="cidata", RUN+="/bin/systemctl start --no-block clone.service"
  - path: /etc/systemd/system/clone.service
    content: |
      [Service]
      Type=oneshot
      ExecStart=/usr/local/sbin/clone
  - path: /usr/local/sbin/clone
    permissions: "0755"
    content: |
      #!/bin/sh -e
      mount -o ro /dev/disk/by-label/cidata /mnt
      mac=$(grep -o "..:..:..:..:..:.." /mnt/network-config)
      umount /mnt
      until grep -qsx "$mac" /sys/class/net/*/address; do sleep 0.2; done
      cloud-init clean
      cloud-init init --local
      netplan apply
      cloud-init init
      cloud-init modules --mode=config
      cloud-init modules --mode=final
runcmd:
  - [sh, -c, 'systemctl daemon-reload; echo "INSTANCE $(hostname) $(cat /var/lib/cloud/data/instance-id)." > /dev/ttyS0']
"""


def test_a_debian_guest_becomes_another_instance(tmp_path, root_disk, bridge):
    """With everything that a stock image does about cloud-init; the addresses are those of its network-config."""
    folder = tmp_path / "snapshot"
    folder.mkdir()
    tap = bridge()
    config = {"payload": {"kernel": artifact("kernel"), "initramfs": artifact("initrd"),
                          "cmdline": "root=LABEL=root console=ttyS0 panic=-1 mitigations=off"},
              "cpus": {"boot_vcpus": 2, "max_vcpus": 2}, "memory": {"size": 768 << 20},
              "disks": [{"path": str(root_disk), "id": "root"}], "net": [{"id": "lan", "tap": tap, "mac": mac(2)}],
              "serial": {"mode": "Tty"}, "console": {"mode": "Off"},
              "cloud_init": {**seed(2, "golden"), "user_data": CLOUD_CONFIG}}
    with Server(tmp_path) as golden, golden.api(timeout=120) as api:
        api.put("vm.create", config)
        api.put("vm.boot")
        golden.wait_for("INSTANCE golden iid-golden.", timeout=300)
        subprocess.run(["busybox", "ping", "-c", "1", "-W", "20", f"{NET}.2"], check=True, stdout=subprocess.DEVNULL)
        api.put("vm.pause")
        api.put("vm.snapshot", {"destination_url": f"file://{folder}"})
    home = tmp_path / "clone"
    home.mkdir()
    with Server(home) as clone, clone.api(timeout=120) as api:
        api.put("vm.restore", {"source_url": f"file://{folder}", "memory_restore_mode": "OnDemand", "resume": True,
                               "net": [{"id": "lan", "tap": tap, "mac": mac(3)}],
                               "cloud_init": {**seed(3, "clone-3"), "user_data": CLOUD_CONFIG}})
        clone.wait_for("INSTANCE clone-3 iid-clone-3.", timeout=300)
        subprocess.run(["busybox", "ping", "-c", "1", "-W", "20", f"{NET}.3"], check=True, stdout=subprocess.DEVNULL)
        assert api.get("vm.info")["config"]["net"][0]["mac"] == mac(3)
