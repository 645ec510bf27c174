"""A second PCI segment: the guest walks both, and devices of the second stay where they are. Runs on any KVM."""

import os

import pytest

from tests.guest.test_guest import SECTOR, pattern
from tests.guest.test_migration import goes_on, move, server  # noqa: F401 (a fixture)
from tests.support.api import refusal
from tests.support.serve import Server, vm_config

TTY = {"serial": {"mode": "Tty"}}
TWO = {"platform": {"num_pci_segments": 2}}
SIZE = 8 << 20


@pytest.fixture
def image(tmp_path):
    """image(name): an empty image."""
    def make(name: str) -> str:
        path = tmp_path / name
        path.write_bytes(b"")
        os.truncate(path, SIZE)
        return str(path)

    return make


def boot(host: Server, test: str, **fields) -> None:
    with host.api() as api:
        api.put("vm.create", vm_config(test, **TTY, **fields))
        api.put("vm.boot")


def test_a_guest_walks_both_segments(server, image):  # noqa: F811
    host = server()
    boot(host, "segments", **TWO, disks=[{"path": image("near")}, {"path": image("far"), "pci_segment": 1}])
    host.wait_for("reached\n")
    host.wait_for("PASS: segments\n")


def test_requests_reach_an_image_on_the_second(server, image, tmp_path):  # noqa: F811
    host = server()
    boot(host, "block", **TWO, disks=[{"path": image("far"), "pci_segment": 1}])
    host.wait_for("PASS: block\n")
    data = (tmp_path / "far").read_bytes()
    assert data[3 * SECTOR:3 * SECTOR + 64] == bytes(pattern(3, i) for i in range(64))


def add(api, path: str, **fields) -> str:
    return api.put("vm.add-disk", {"path": path, **fields})["bdf"]


@pytest.mark.parametrize("mode", ["Copy", "OnDemand"])
def test_places_stay_over_a_snapshot(server, image, tmp_path, mode):  # noqa: F811
    first, second = server(), server()
    boot(first, "disk-dirty", **TWO, disks=[{"path": image("far"), "pci_segment": 1}])
    goes_on(first, 2)
    saved = tmp_path / "saved"
    saved.mkdir()
    with first.api() as api:
        assert add(api, image("hot"), pci_segment=1) == "0001:00:02.0"
        assert add(api, image("gap"), pci_segment=1) == "0001:00:03.0"
        assert add(api, image("last"), pci_segment=1) == "0001:00:04.0"
        assert add(api, image("near")) == "0000:00:02.0"
        api.put("vm.remove-device", {"id": "_disk2"})  # which the guest never answers
        refused = refusal(api.put, "vm.add-disk", {"path": "/a", "pci_segment": 2})
        assert refused.status == 400 and "pci_segment: 2 of device _disk5 is not below 2" in refused.chain[-1]
        api.put("vm.pause")
        api.put("vm.snapshot", {"destination_url": f"file://{saved}"})
        api.put("vm.delete")
    with second.api() as api:
        api.put("vm.restore", {"source_url": f"file://{saved}", "memory_restore_mode": mode, "resume": True})
        goes_on(second, 2)
        config = api.get("vm.info")["config"]
        assert [disk["pci_segment"] for disk in config["disks"]] == [1, 1, 1, 1, 0]
        assert add(api, image("more"), pci_segment=1) == "0001:00:05.0"
        assert add(api, image("other")) == "0000:00:03.0"
        api.put("vm.remove-device", {"id": "_disk3", "force": True})
        goes_on(second, 2)


def test_places_stay_over_a_migration(server, image):  # noqa: F811
    source, destination = server(), server()
    boot(source, "disk-dirty", **TWO, disks=[{"path": image("far"), "pci_segment": 1}])
    goes_on(source, 2)
    with source.api() as api:
        assert add(api, image("hot"), pci_segment=1) == "0001:00:02.0"
    move(source, destination)
    goes_on(destination, 2)
    with destination.api() as api:
        assert add(api, image("more"), pci_segment=1) == "0001:00:03.0"
        api.put("vm.reboot")
    goes_on(destination, 2)
