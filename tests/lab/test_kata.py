"""A sandbox as Kata's Go runtime runs it: a shared directory, an agent on vsock, containers' disks, CPUs and memory that come
with them, and the end within seconds. The agent's stand-in runs the commands that it is sent."""

import json
import os
import re
import select
import time
from pathlib import Path

from tests.lab.test_fs import daemon  # noqa: F401 (a fixture)
from tests.lab.test_net import HOST, SET_UP, tap  # noqa: F401 (a fixture)
from tests.lab.test_runtimes import KATA_NET, comms, kata_config, open_tap, payload, program  # noqa: F401 (a fixture)
from tests.lab.test_vsock import dial, rest
from tests.support.serve import Server

PORT = 1024
GIB = 1 << 30

AGENT = SET_UP + f"""
cat >/run/agent.py <<'END'
import socket, subprocess
listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, {PORT}))
listener.listen(8)
while True:
    peer = listener.accept()[0]
    try:
        command = peer.makefile("rb").readline().decode()
        done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        peer.sendall(b"%d\\n" % done.returncode + done.stdout)
    except OSError:
        pass  # a restore resets connections
    peer.close()
END
echo online_movable >/sys/devices/system/memory/auto_online_blocks
until [ -c /dev/vsock ]; do sleep 0.05; done
exec python3 /run/agent.py
"""


class Agent:
    """What Kata's runtime has of its agent: a socket of the host's."""

    def __init__(self, path: Path):
        self._path = path

    def wait(self) -> None:
        """Until it answers, as Kata does: nobody listens at first."""
        deadline = time.monotonic() + 300
        while True:
            try:
                self.run("true")
                return
            except (ConnectionError, FileNotFoundError):
                assert time.monotonic() < deadline, "no agent answers"
                select.select([], [], [], 0.1)

    def run(self, command: str) -> str:
        """The command's output; it ends well."""
        with dial(self._path, PORT) as peer:
            peer.sendall(command.encode() + b"\n")
            code, _, text = rest(peer).decode().partition("\n")
        if not code:
            raise ConnectionResetError(command)
        assert code == "0", f"{command}: {code}, {text}"
        return text


def test_kata_runs_a_sandbox_from_its_start_to_its_end(program, tmp_path, root_disk, daemon, tap):  # noqa: F811
    shared = daemon("fs.sock")
    (shared.folder / "passthrough").mkdir()
    image = tmp_path / "container.img"
    content = os.urandom(4 << 20)
    image.write_bytes(content)
    booted = payload(tmp_path, AGENT)
    booted["cmdline"] += " hako.root=/dev/vda"
    wanted = kata_config(booted) | {
        "disks": [{"path": str(root_disk), "readonly": False, "image_type": "Raw", "direct": False, "iommu": False,
                   "num_queues": 1, "queue_size": 128, "vhost_user": False, "backing_files": False, "sparse": True}],
        "balloon": {"size": 0, "free_page_reporting": True},
        "vsock": {"cid": 3, "socket": str(tmp_path / "clh.sock"), "iommu": False},
        # Kata puts it on the second segment.
        "fs": [{"tag": "kataShared", "socket": str(shared.socket), "num_queues": 1, "queue_size": 1024, "pci_segment": 1}],
    }
    tap_fd = open_tap(tap())
    agent = Agent(tmp_path / "clh.sock")
    with Server(tmp_path, command=[program]) as server:
        with server.api() as api:
            api.get("vmm.ping")
            api.put("vm.create", wanted)
            with server.api() as raw:
                raw.send("PUT", "/api/v1/vm.add-net", json.dumps(KATA_NET).encode(), [tap_fd])
                assert raw.response().status in (200, 204)
            os.close(tap_fd)
            api.put("vm.boot")
            assert api.get("vm.info")["state"] == "Running"
        agent.wait()

        # The sandbox: its directory, its network.
        agent.run("mkdir -p /run/kata && mount -t virtiofs kataShared /run/kata")
        assert agent.run("cat /run/kata/theirs") == "by the host"
        agent.run(f"ping -c 2 {HOST}")

        # A container: more memory and CPUs, of which the agent puts those to work that the kernel did not; and a disk.
        with server.api() as api:
            api.put("vm.resize", {"desired_ram": GIB})
            assert api.get("vm.info")["config"]["memory"]["size"] == GIB
            api.put("vm.resize", {"desired_vcpus": 4})
            assert api.get("vm.info")["config"]["cpus"]["boot_vcpus"] == 4
            agent.run("until [ -e /sys/devices/system/cpu/cpu3 ]; do sleep 0.05; done; "
                      "for cpu in 2 3; do echo 1 >/sys/devices/system/cpu/cpu$cpu/online; done; true")
            assert agent.run("cat /sys/devices/system/cpu/online") == "0-3\n"
            assert sorted(name for name in comms(server.pid) if re.fullmatch(r"vcpu\d+", name)) == [
                f"vcpu{number}" for number in range(4)]
            # Blocks of 128 MiB.
            agent.run("until [ $(grep -l 1 /sys/devices/system/memory/memory*/online | wc -l) = 8 ]; do sleep 0.05; done")
            added = api.put("vm.add-disk", {"path": str(image), "readonly": False, "direct": False, "vhost_user": False,
                                            "num_queues": 4, "queue_size": 1024, "iommu": False, "id": "drive-1"})
        block = f"/sys/bus/pci/devices/{added['bdf']}/virtio*/block"
        agent.run(f"until [ -e {block}/vd* ]; do sleep 0.05; done")
        assert agent.run(f"cmp -n {len(content)} /dev/$(ls {block}) /run/kata/passthrough/copy 2>&1 || true"
                         ).startswith("cmp: /run/kata/passthrough/copy: No such file")
        (shared.folder / "passthrough" / "copy").write_bytes(content)
        agent.run(f"cmp -n {len(content)} /dev/$(ls {block}) /run/kata/passthrough/copy")

        # It ends, and what it had goes.
        with server.api() as api:
            api.put("vm.remove-device", {"id": "drive-1"})
            agent.run(f"while [ -e /sys/bus/pci/devices/{added['bdf']} ]; do sleep 0.05; done")
            api.put("vm.resize", {"desired_ram": 512 << 20})
            deadline = time.monotonic() + 60
            while api.get("vm.info")["config"]["memory"]["size"] != 512 << 20 and time.monotonic() < deadline:
                select.select([], [], [], 0.05)
            info = api.get("vm.info")
            assert info["config"]["memory"]["size"] == info["memory_actual_size"] == 512 << 20
            api.put("vm.pause")
            api.put("vm.resume")
        agent.run("umount /run/kata")
        with server.api() as api:
            api.get("vmm.ping")
            api.put("vmm.shutdown")
        assert server.wait(3) == 0
        assert server.stderr() == ""
    assert shared.wait() == 0
    assert not (tmp_path / "clh.sock").exists()
