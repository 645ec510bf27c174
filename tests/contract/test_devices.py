"""Devices that are added to a VM before it boots, and taken from it."""

import json

import pytest

from tests.support.api import refusal
from tests.support.serve import vm_config


@pytest.fixture(autouse=True)
def vm(api):
    api.put("vm.create", vm_config())


def config(api) -> dict:
    return api.get("vm.info")["config"]


def test_disks_as_kata_adds_them(api):
    body = {"path": "/rootfs", "readonly": True, "image_type": "Raw", "direct": False, "iommu": False, "num_queues": 1,
            "queue_size": 128, "vhost_user": False, "backing_files": False, "sparse": True}
    answer = api.ask("PUT", "/api/v1/vm.add-disk", json.dumps(body).encode())
    assert (answer.status, answer.body) == (204, b"")
    api.put("vm.add-disk", {"path": "/data", "id": "data", "serial": "abc"})
    root, data = config(api)["disks"]
    assert root == {"id": "_disk0", "pci_segment": 0, **{key: body[key] for key in body
                                                         if key not in ("backing_files", "sparse")}}
    assert data["id"] == "data" and data["serial"] == "abc" and data["queue_size"] == 128


def test_interfaces_as_kata_adds_them(api):
    body = {"mac": "02:00:5e:10:00:01", "ip": "192.168.249.1", "mask": "255.255.255.0", "num_queues": 2, "queue_size": 256,
            "vhost_user": False, "vhost_mode": "Client", "offload_tso": True, "offload_ufo": True, "offload_csum": True,
            "iommu": False, "tap": "tap0"}
    api.put("vm.add-net", body)
    assert config(api)["net"] == [{**body, "id": "_net0", "pci_segment": 0, "vhost": False}]


def test_kata_adds_what_is_there_once_more(api):
    for _ in range(2):
        api.put("vm.add-net", {"mac": "02:00:5e:10:00:01", "tap": f"tap{_}"})
    assert [net["id"] for net in config(api)["net"]] == ["_net0", "_net1"]
    assert refusal(api.put, "vm.add-net", {"tap": "tap0"}).status == 400


def test_an_interface_that_got_its_address_from_hako_tells_it(api):
    api.put("vm.add-net", {"tap": "tap0"})
    mac = config(api)["net"][0]["mac"]
    assert len(mac.split(":")) == 6
    assert int(mac.split(":")[0], 16) & 3 == 2  # unicast, locally administered


def test_a_vsock_as_kata_adds_it(api):
    body = {"cid": 3, "socket": "/run/clh.sock", "iommu": False}
    answer = api.ask("PUT", "/api/v1/vm.add-vsock", json.dumps(body).encode())
    assert (answer.status, answer.body) == (204, b"")
    assert config(api)["vsock"] == {**body, "id": "_vsock0", "pci_segment": 0}
    error = refusal(api.put, "vm.add-vsock", {"cid": 4, "socket": "/run/other.sock"})
    assert error.status == 409 and "_vsock0" in error.chain[-1]
    assert refusal(api.put, "vm.add-disk", {"path": "/a", "id": "_vsock0"}).status == 409
    api.put("vm.remove-device", {"id": "_vsock0"})
    assert "vsock" not in config(api)
    api.put("vm.add-vsock", {"cid": 4, "socket": "/run/other.sock", "id": "agent"})
    assert config(api)["vsock"]["id"] == "agent"


def test_a_shared_directory_as_kata_adds_it(api):
    api.put("vm.delete")
    api.put("vm.create", vm_config(platform={"num_pci_segments": 2}))
    body = {"tag": "kataShared", "socket": "/run/virtiofsd.sock", "num_queues": 1, "queue_size": 1024, "pci_segment": 1}
    refused = refusal(api.put, "vm.add-fs", {**body, "pci_segment": 2})
    assert refused.status == 400 and "pci_segment: 2 of device _fs0 is not below 2" in refused.chain[-1]
    answer = api.ask("PUT", "/api/v1/vm.add-fs", json.dumps(body).encode())
    assert (answer.status, answer.body) == (204, b"")
    assert config(api)["fs"] == [{**body, "id": "_fs0"}]
    for other in ({"tag": "kataShared", "socket": "/run/other.sock"}, {"tag": "b", "socket": body["socket"]}):
        assert refusal(api.put, "vm.add-fs", other).status == 400
    assert refusal(api.put, "vm.add-disk", {"path": "/a", "id": "_fs0"}).status == 409
    api.put("vm.add-fs", {"tag": "b", "socket": "/run/other.sock", "id": "more"})
    assert config(api)["fs"][1] == {"tag": "b", "socket": "/run/other.sock", "id": "more", "num_queues": 1,
                                    "queue_size": 1024, "pci_segment": 0}
    api.put("vm.remove-device", {"id": "_fs0"})
    assert [fs["id"] for fs in config(api)["fs"]] == ["more"]


def test_without_its_daemon_a_vm_does_not_boot_and_one_that_says_nothing_holds_up_nobody(api, tmp_path):
    api.put("vm.add-fs", {"tag": "a", "socket": str(tmp_path / "nobody")})
    error = refusal(api.put, "vm.boot")
    assert "start the daemon" in error.chain[-1] and "_fs0" in str(error)


def test_ids_are_there_once(api):
    api.put("vm.add-disk", {"path": "/a", "id": "x"})
    error = refusal(api.put, "vm.add-disk", {"path": "/b", "id": "x"})
    assert error.status == 409
    assert error.chain[0] == "Error from API" and "x" in error.chain[-1]
    assert refusal(api.put, "vm.add-net", {"tap": "t", "id": "x"}).status == 409
    assert refusal(api.put, "vm.add-disk", {"path": "/b", "id": "__x"}).status == 400
    api.put("vm.remove-device", {"id": "x"})
    api.put("vm.add-net", {"tap": "t", "id": "x"})


def test_a_device_is_taken_out_again(api):
    api.put("vm.add-disk", {"path": "/a"})
    api.put("vm.add-disk", {"path": "/b"})
    api.put("vm.add-net", {"tap": "t"})
    assert refusal(api.put, "vm.remove-device", {"id": "_disk2"}).status == 404
    api.put("vm.remove-device", {"id": "_disk0"})
    api.put("vm.remove-device", {"id": "_net0", "force": True})
    assert [disk["path"] for disk in config(api)["disks"]] == ["/b"]
    assert config(api)["net"] == []
    assert refusal(api.put, "vm.remove-device", {"id": "_disk0"}).status == 404
    api.put("vm.add-disk", {"path": "/c"})
    assert [disk["id"] for disk in config(api)["disks"]] == ["_disk1", "_disk0"]


@pytest.mark.parametrize("name, body, word", [
    ("vm.add-disk", {}, "path"), ("vm.add-disk", {"path": ""}, "path"), ("vm.add-disk", {"path": 1}, "path"),
    ("vm.add-disk", {"path": "/a", "iommu": True}, "iommu"), ("vm.add-disk", {"path": "/a", "queue_size": 3}, "queue_size"),
    ("vm.add-disk", {"path": "/a", "vhost_user": True}, "vhost_user"),
    ("vm.add-disk", {"path": "/a", "rate_limiter_config": {"ops": {"size": 1}}}, "refill_time"),
    ("vm.add-net", {"tap": "a/b"}, "tap"), ("vm.add-net", {"mac": "x"}, "mac"), ("vm.add-net", {"mtu": 1}, "mtu"),
    ("vm.add-net", {"num_queues": 1}, "num_queues"), ("vm.add-net", {"num_queues": 18}, "num_queues"),
    ("vm.add-net", {"pci_segment": 1}, "pci_segment"), ("vm.add-vsock", {"socket": "/s"}, "cid"),
    ("vm.add-vsock", {"cid": 2, "socket": "/s"}, "cid"), ("vm.add-vsock", {"cid": 3}, "socket"),
    ("vm.add-vsock", {"cid": 3, "socket": ""}, "socket"), ("vm.add-vsock", {"cid": 3, "socket": "/s", "pci_segment": 1},
                                                          "pci_segment"),
    ("vm.add-fs", {"tag": "a"}, "socket"), ("vm.add-fs", {"socket": "/s"}, "tag"),
    ("vm.add-fs", {"tag": 37 * "a", "socket": "/s"}, "tag"), ("vm.add-fs", {"tag": "a", "socket": 108 * "s"}, "socket"),
    ("vm.add-fs", {"tag": "a", "socket": "/s", "queue_size": 100}, "queue_size"),
    ("vm.add-fs", {"tag": "a", "socket": "/s", "num_queues": 9}, "num_queues"),
    ("vm.add-fs", {"tag": "a", "socket": "/s", "pci_device_id": 3}, "pci_device_id"),
    ("vm.remove-device", {}, "id"),
    ("vm.remove-device", {"id": ["a"]}, "id"),
])
def test_a_device_that_cannot_be_is_refused_by_its_field(api, name, body, word):
    error = refusal(api.put, name, body)
    assert error.status == 400
    assert word in error.chain[-1]
    assert config(api)["disks"] == [] and config(api)["net"] == []
