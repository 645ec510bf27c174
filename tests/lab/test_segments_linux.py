"""A second PCI segment under stock Debian: devices that are there from the start, that come and go, and that go along."""

import os

from tests.contract.test_events import kept
from tests.guest.test_migration import server, wait_for_event  # noqa: F401 (a fixture)
from tests.lab.test_fs import daemon  # noqa: F401 (a fixture)
from tests.lab.test_kata import AGENT, Agent
from tests.lab.test_net import SET_UP
from tests.lab.test_runtimes import payload


def test_devices_of_a_second_segment(tmp_path, root_disk, daemon, server):  # noqa: F811
    shared = daemon("fs.sock")
    contents = {}
    for name in ("cold", "hot"):
        contents[name] = os.urandom(1 << 20)
        (tmp_path / name).write_bytes(contents[name])
    booted = payload(tmp_path, AGENT.removeprefix(SET_UP))
    booted["cmdline"] += " hako.root=/dev/vda"
    sum_of = {name: os.popen(f"md5sum <{tmp_path / name}").read().split()[0] for name in contents}
    agent = Agent(tmp_path / "vsock")

    def read(bdf: str) -> str:
        """The checksum of the disk at that place, once it is there."""
        block = f"/sys/bus/pci/devices/{bdf}/virtio*/block"
        return agent.run(f"until [ -e {block}/vd* ]; do sleep 0.05; done; "
                         f"dd if=/dev/$(ls {block}) iflag=direct bs=64k 2>/dev/null | md5sum").split()[0]

    def remove(api, device: str) -> None:
        """Asks the guest for it, and returns once it is gone."""
        removed = "device-removed"
        before = sum(event["event"] == removed for event in kept(api))
        api.put("vm.remove-device", {"id": device})
        wait_for_event(api, removed, before + 1)
        assert agent.run("ls /sys/bus/pci/devices | grep 0001:00:03 || true") == ""

    first, second = server(), server()
    with first.api() as api:
        api.put("vm.create", {
            "payload": booted, "cpus": {"boot_vcpus": 1, "max_vcpus": 1}, "memory": {"size": 512 << 20, "shared": True},
            "platform": {"num_pci_segments": 2}, "serial": {"mode": "Tty"}, "console": {"mode": "Off"},
            "disks": [{"path": str(root_disk)}, {"path": str(tmp_path / "cold"), "id": "cold", "pci_segment": 1}],
            "vsock": {"cid": 3, "socket": str(tmp_path / "vsock"), "pci_segment": 1}})
        api.put("vm.boot")
    agent.wait()
    assert read("0001:00:01.0") == sum_of["cold"]
    devices = agent.run("lspci -D").splitlines()
    assert [line for line in devices if line.startswith("0001:00:00.0 Host bridge")], devices
    assert len([line for line in devices if line.startswith("0001:00:")]) == 3, devices

    with first.api(timeout=120) as api:
        for _ in range(2):
            added = api.put("vm.add-disk", {"id": "hot", "path": str(tmp_path / "hot"), "pci_segment": 1})
            assert added["bdf"] == "0001:00:03.0"
            assert read(added["bdf"]) == sum_of["hot"]
            remove(api, "hot")
        added = api.put("vm.add-fs", {"tag": "shared", "socket": str(shared.socket), "pci_segment": 1})
        assert added["bdf"] == "0001:00:03.0"
        agent.run("mkdir -p /run/shared; until mount -t virtiofs shared /run/shared 2>/dev/null; do sleep 0.05; done")
        assert agent.run("cat /run/shared/theirs") == "by the host"
        agent.run("umount /run/shared")
        remove(api, "_fs0")
        assert api.put("vm.add-disk", {"id": "hot", "path": str(tmp_path / "hot"), "pci_segment": 1})["bdf"] == "0001:00:03.0"
        assert read("0001:00:03.0") == sum_of["hot"]
        saved = tmp_path / "saved"
        saved.mkdir()
        api.put("vm.pause")
        api.put("vm.snapshot", {"destination_url": f"file://{saved}"})
        api.put("vm.delete")

    with second.api(timeout=120) as api:
        api.put("vm.restore", {"source_url": f"file://{saved}", "resume": True})
        agent.wait()
        agent.run("echo 3 >/proc/sys/vm/drop_caches")
        assert read("0001:00:01.0") == sum_of["cold"]
        assert read("0001:00:03.0") == sum_of["hot"]
        remove(api, "hot")
        assert api.put("vm.add-disk", {"id": "hot", "path": str(tmp_path / "hot"), "pci_segment": 1})["bdf"] == "0001:00:03.0"
        assert read("0001:00:03.0") == sum_of["hot"]
        assert agent.run("dmesg --level=emerg,alert,crit,err | grep . || true") == ""
