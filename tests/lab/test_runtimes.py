"""The sequences of clients that drive Cloud Hypervisor, byte patterns included, against stock Debian guests."""

import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.lab.conftest import artifact
from tests.lab.test_net import HOST, SET_UP, tap  # noqa: F401 (a fixture)
from tests.support.api import Api, Response
from tests.support.hako import HAKO, ROOT
from tests.support.serve import Server

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "cloud-hypervisor"
    path.symlink_to(HAKO)
    return path


def open_tap(name: str) -> int:
    """A descriptor of a tap, as a container runtime hands it over."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return fd


def payload(folder: Path, script: str) -> dict:
    """A Debian kernel that runs `script` from its initial RAM disk."""
    (folder / "script").write_text(script)
    subprocess.run([ROOT / "tools" / "lab", "quick-initrd", "--kernel", "kernel", "--script", folder / "script",
                    "--output", folder / "initrd"], check=True)
    return {"kernel": artifact("kernel"), "initramfs": str(folder / "initrd"), "cmdline": "console=ttyS0 panic=-1"}


def comms(pid: int) -> list[str]:
    return [(task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()]


def kata_config(payload: dict) -> dict:
    """As Kata's Go runtime fills it, without the devices that hako does not have."""
    return {
        "payload": payload,
        "platform": {"num_pci_segments": 2, "tdx": False, "sev_snp": False},
        "memory": {"size": 512 << 20, "mergeable": False, "hotplug_method": "Acpi", "shared": True, "hugepages": False,
                   "prefault": False, "thp": True, "hotplug_size": 1 << 30},
        "cpus": {"boot_vcpus": 2, "max_vcpus": 4, "kvm_hyperv": False, "nested": True,
                 "topology": {"threads_per_core": 1, "cores_per_die": 4, "dies_per_package": 1, "packages": 1}},
        "disks": [], "rng": {"src": "/dev/urandom", "iommu": False}, "serial": {"mode": "Tty"},
        "console": {"mode": "Off", "iommu": False}, "fs": None, "vsock": None, "iommu": False, "watchdog": False,
        "pvpanic": False, "landlock_enable": False,
    }


KATA_NET = {"mac": "02:00:5e:10:00:01", "ip": "192.168.249.1", "mask": "255.255.255.0", "num_queues": 2,
            "queue_size": 256, "vhost_user": False, "vhost_mode": "Client", "offload_tso": True, "offload_ufo": True,
            "offload_csum": True, "iommu": False}

WAIT_FOR_DISK = """
until [ -b /dev/vda ]; do usleep 50000; done
dd if=/dev/vda of=/dev/null bs=64k count=16 || exit 11
echo CAME
while [ -e /sys/block/vda ]; do usleep 50000; done
echo WENT
"""


def test_kata_starts_a_sandbox_plugs_a_disk_and_stops(program, tmp_path, tap):  # noqa: F811
    image = tmp_path / "container.img"
    image.write_bytes(os.urandom(4 << 20))
    tap_fd = open_tap(tap())
    script = SET_UP + f"echo CONNECTED\n{WAIT_FOR_DISK}\nping -c 2 {HOST} || exit 12\necho ALIVE\nsleep 1000\n"
    with Server(tmp_path, "--seccomp", "false", command=[program], make_socket=False) as server:
        deadline = time.monotonic() + 10
        while True:  # until it answers, as Kata does
            assert server.process.poll() is None and time.monotonic() < deadline, server.stderr()
            try:
                with server.api(timeout=1) as api:
                    assert api.get("vmm.ping")["version"]
                break
            except (FileNotFoundError, ConnectionRefusedError):
                select.select([], [], [], 0.01)
        with server.api() as api:
            api.put("vm.create", kata_config(payload(tmp_path, script)))
            assert api.get("vm.info")["state"] == "Created"
            with server.api() as raw:  # one message for head, body and descriptors, on a connection of its own
                raw.send("PUT", "/api/v1/vm.add-net", json.dumps(KATA_NET).encode(), [tap_fd])
                assert raw.response().status in (200, 204)
            os.close(tap_fd)
            api.put("vm.boot")
            info = api.get("vm.info")
            assert info["state"] == "Running"
            assert info["config"]["memory"]["size"] == info["memory_actual_size"] == 512 << 20
            assert info["config"]["memory"]["hotplug_size"] == 1 << 30
            assert info["config"]["cpus"]["boot_vcpus"] == 2 and info["config"]["cpus"]["max_vcpus"] == 4
            assert sorted(name for name in comms(server.pid) if re.fullmatch(r"vcpu\d+", name)) == ["vcpu0", "vcpu1"]
            server.wait_for("CONNECTED", timeout=300)
            added = api.put("vm.add-disk", {"path": str(image), "readonly": False, "direct": False, "vhost_user": False,
                                            "num_queues": 2, "queue_size": 1024, "iommu": False, "id": "drive-1"})
            assert added["id"] == "drive-1" and re.fullmatch(r"0000:00:[0-9a-f]{2}\.0", added["bdf"])
            server.wait_for("CAME")
            assert api.get("vm.counters")["drive-1"]["read_bytes"] >= 1 << 20
            api.put("vm.remove-device", {"id": "drive-1"})
            server.wait_for("WENT")
            api.put("vm.pause")
            assert api.get("vm.info")["state"] == "Paused"
            api.put("vm.resume")
            server.wait_for("ALIVE")
            assert api.get("vmm.ping")
            api.put("vmm.shutdown")
        assert server.wait(3) == 0
        assert server.stderr() == ""
    assert not server.socket.exists()


def put_as_api_client(api: Api, name: str, body: object = None, fds: list[int] | None = None) -> Response:
    """Cloud Hypervisor's own client, which ch-remote and Kata's runtime-rs use: a write for each piece."""
    head = f"PUT /api/v1/{name} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n".encode()
    socket.send_fds(api.socket, [head], fds or [])
    if body is not None:
        data = json.dumps(body).encode()
        api.socket.sendall(f"Content-Length: {len(data)}\r\n".encode())
        api.socket.sendall(b"\r\n")
        api.socket.sendall(data)
    else:
        api.socket.sendall(b"\r\n")
    return api.response()


def test_runtime_rs_does_all_of_it_on_one_connection(program, tmp_path, tap):  # noqa: F811
    tap_fd = open_tap(tap())
    script = SET_UP + "echo CONNECTED\nsleep 1000\n"
    config = kata_config(payload(tmp_path, script))
    config["cpus"].update(max_phys_bits=46, affinity=None, features={"amx": False})
    config["memory"].update(hugepage_size=None, hotplugged_size=None, zones=None)
    config["serial"] = {"file": None, "mode": "Tty", "iommu": False}
    config.update(net=None, balloon=None, pmem=None, devices=[], numa=None, sgx_epc=None, platform=None)
    with Server(tmp_path, "-v", command=[program]) as server, server.api() as api:
        api.socket.sendall(b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
        assert api.response().json()["features"] == ["io_uring", "kvm"]
        assert put_as_api_client(api, "vm.create", config).status == 204
        assert put_as_api_client(api, "vm.add-net", {**KATA_NET, "id": None, "tap": None}, [tap_fd]).status == 204
        os.close(tap_fd)
        assert put_as_api_client(api, "vm.boot").status == 204
        info = api.get("vm.info")
        assert info["state"] in {"Created", "Running", "Shutdown", "Paused"}
        strict = info["config"]
        assert strict["cpus"]["boot_vcpus"] and strict["cpus"]["max_vcpus"] and strict["cpus"]["max_phys_bits"]
        assert strict["serial"]["mode"] in {"Off", "Pty", "Tty", "File", "Null"}
        assert strict["console"]["mode"] in {"Off", "Pty", "Tty", "File", "Null"}
        assert all(net["ip"] and net["mask"] and net["mac"] for net in strict["net"]) and strict["rng"]["src"]
        server.wait_for("CONNECTED", timeout=300)
        assert put_as_api_client(api, "vm.pause").status == 204
        assert put_as_api_client(api, "vm.resume").status == 204
        assert put_as_api_client(api, "vmm.shutdown").status == 200
        assert server.wait() == 0


def test_libvirt_starts_a_domain_and_destroys_it(program, tmp_path, tap):  # noqa: F811
    fifo = tmp_path / "event-monitor-fifo"
    os.mkfifo(fifo)
    events: list[str] = []

    def read_events() -> None:
        with open(fifo) as file:
            events.extend(json.loads(document)["event"] for document in file.read().split("\n\n") if document)

    reader = threading.Thread(target=read_events)
    reader.start()
    tap_fd = open_tap(tap())
    script = SET_UP + "echo CONNECTED\nread -r word\necho GOT $word\npoweroff -f\n"
    with Server(tmp_path, "--event-monitor", f"path={fifo}", "--no-shutdown", command=[program]) as server:
        with server.api() as api:
            api.put("vm.create", {"cpus": {"boot_vcpus": 2, "max_vcpus": 2}, "memory": {"size": 512 << 20},
                                  "payload": payload(tmp_path, script), "disks": [], "serial": {"mode": "Pty"},
                                  "console": {"mode": "Off"}})
            with server.api(timeout=0.5) as raw:  # libvirt waits no longer
                raw.send("PUT", "/api/v1/vm.add-net", json.dumps(
                    {"id": "net_0", "mac": "02:00:5e:10:00:02", "num_queues": 2, "queue_size": 256}).encode(), [tap_fd])
                assert re.match(rb"HTTP/1\.\d 20[04]", raw.socket.recv(1023))
            os.close(tap_fd)
            api.put("vm.boot")
            names = comms(server.pid)
            assert {"vcpu0", "vcpu1"} <= set(names)
            assert [name for name in names if re.match("_disk|_net|_rng", name)]
            pty = api.get("vm.info")["config"]["serial"]["file"]
            terminal = os.open(pty, os.O_RDWR | os.O_NOCTTY)
            with open(terminal, "r+b", buffering=0) as console:
                text = b""
                deadline = time.monotonic() + 300
                for word, answer in ((b"CONNECTED", b"hello\n"), (b"GOT hello", b"")):
                    while word not in text:
                        assert select.select([console], [], [], max(0, deadline - time.monotonic()))[0], text
                        text += os.read(console.fileno(), 65536)
                    console.write(answer)
            deadline = time.monotonic() + 60
            while api.get("vm.info")["state"] == "Running":
                assert time.monotonic() < deadline
                select.select([], [], [], 0.05)
            server.process.send_signal(signal.SIGTERM)
            assert server.wait() == 0
        reader.join()
    assert events == ["starting", "created", "device-added", "booting", "booted", "ended", "shutdown", "deleted",
                      "shutdown"]
