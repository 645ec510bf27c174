"""Bodies that are no good: refused with a message, and the server lives."""

import json

import pytest

from tests.support.serve import vm_config

#: Each call that takes a body, with a good one.
BODIES = {
    "vm.create": vm_config(),
    "vm.add-disk": {"path": "/nowhere"},
    "vm.add-net": {"tap": "nowhere"},
    "vm.remove-device": {"id": "x"},
    "vm.resize-disk": {"id": "x", "desired_size": 1 << 20},
    "vm.coredump": {"destination_url": "file:///nowhere/core"},
    "vm.eject-helper": {"id": "x"},
    "vm.update-helper": {"id": "x", "files": {}},
    "vm.set-link": {"id": "x", "up": True},
    "vm.set-limits": {"id": "x", "rate_limiter_config": {}},
    "vm.resize": {"desired_vcpus": 1},
    "vm.resize-zone": {"id": "x", "desired_ram": 1 << 30},
    "vm.snapshot": {"destination_url": "file:///nowhere"},
    "vm.restore": {"source_url": "file:///nowhere"},
    "vm.send-migration": {"destination_url": "unix:/nowhere"},
    "vm.receive-migration": {"receiver_url": "unix:/nowhere/at/all"},
    "vm.migration-bandwidth": {"bandwidth": 1},
}

BODILESS = ["vmm.shutdown", "vm.boot", "vm.delete", "vm.shutdown", "vm.reboot", "vm.pause", "vm.resume",
            "vm.power-button", "vm.nmi", "vm.cancel-migration", "vm.reclaim-migration"]


def refused(api, name: str, body: bytes, status: int = 400) -> list[str]:
    """The chain of causes; the connection goes on unless the request was too long."""
    answer = api.ask("PUT", f"/api/v1/{name}", body)
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body.isascii()
    chain = answer.json()
    assert chain and all(isinstance(cause, str) for cause in chain)
    return chain


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_json_object(api, name):
    good = json.dumps(BODIES[name]).encode()
    for body in (good[:-1], good[:len(good) // 2], b"{", b"\x00", good + b"x", good.replace(b'"', b"'"), b"nonsense",
                 b'{"a":' * 100 + b"1" + b"}" * 100, b"[" * 4096 + b"]" * 4096, b'{"id":"\xff\xfe"}',
                 b'{"path":"\xed\xa0\x80"}', b'{"path":"\\ud800"}', b"null", b"true", b"17", b'"text"', b"[]", b"[{}]"):
        chain = refused(api, name, body)
        assert chain[0] == "Failed to deserialize JSON", (body, chain)
        assert len(chain) == 2
        assert len(chain[1]) < 1000
    assert refused(api, name, b"")[0] == "Bad Request"
    assert api.get("vmm.ping")


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_too_long(server, name):
    with server.api() as api:
        body = b'{"path":"' + b"x" * (5 << 20) + b'"}'
        try:
            api.send("PUT", f"/api/v1/{name}", body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused by its length, before it was all there
        answer = api.response()
        assert answer.status == 413 and str(4 << 20) in answer.json()[-1], answer
    with server.api() as api:
        assert api.get("vmm.ping")


@pytest.mark.parametrize("name", BODILESS)
def test_a_body_where_none_belongs(api, name):
    assert refused(api, name, b"{}")[0] == "Bad Request"
    assert refused(api, name, b"nonsense")[0] == "Bad Request"
    assert api.get("vmm.ping")


def test_four_mebibytes_are_not_too_long(api):
    config = vm_config()
    config["unknown"] = "x" * ((4 << 20) - len(json.dumps({**config, "unknown": ""})))
    body = json.dumps(config).encode()
    assert len(body) == 4 << 20
    assert api.ask("PUT", "/api/v1/vm.create", body).status == 204


@pytest.mark.parametrize("fields, words", [
    ({"cpus": {"boot_vcpus": "2", "max_vcpus": 2}}, ["cpus.boot_vcpus", '"2"']),
    ({"cpus": {"boot_vcpus": 2}}, ["cpus.max_vcpus", "missing"]),
    ({"cpus": {"boot_vcpus": 1000, "max_vcpus": 1000}}, ["cpus.boot_vcpus", "64", "1000"]),
    ({"cpus": {"boot_vcpus": 4, "max_vcpus": 2}}, ["cpus.max_vcpus", "2"]),
    ({"cpus": {"boot_vcpus": 1.5, "max_vcpus": 2}}, ["cpus.boot_vcpus", "1.5"]),
    ({"cpus": {"boot_vcpus": -1, "max_vcpus": 2}}, ["cpus.boot_vcpus", "-1"]),
    ({"cpus": {"boot_vcpus": 1 << 40, "max_vcpus": 2}}, ["cpus.boot_vcpus"]),
    ({"memory": {"size": 1000}}, ["memory.size", "1000"]),
    ({"memory": {"size": 1e30}}, ["memory.size"]),
    ({"memory": "much"}, ["memory", "object", '"much"']),
    ({"memory": {"size": 64 << 20, "hotplug_method": "Magic"}}, ["memory.hotplug_method", '"Acpi"', '"Magic"']),
    ({"payload": None}, ["payload", "missing"]),
    ({"payload": {}}, ["payload.kernel"]),
    ({"payload": {"kernel": "/a\u0000b"}}, ["payload.kernel", "NUL"]),
    ({"payload": {"firmware": "/f"}}, ["payload.firmware"]),
    ({"disks": {}}, ["disks", "array"]),
    ({"disks": [{}]}, ["disks[0].path"]),
    ({"disks": [{"path": "/a"}, {"path": "/b", "id": "a b"}]}, ["disks[1].id", "a b"]),
    ({"disks": [{"path": "/a", "id": "x"}, {"path": "/b", "id": "x"}]}, ["id x", "twice"]),
    ({"disks": [{"path": "/a", "num_queues": 0}]}, ["disks[0].num_queues", "0"]),
    ({"disks": [{"path": "/a", "queue_size": 100}]}, ["disks[0].queue_size", "100"]),
    ({"disks": [{"path": "/a", "image_type": "Qcow2"}]}, ["disks[0].image_type"]),
    ({"disks": [{"path": f"/{i}"} for i in range(25)]}, ["25", "24"]),
    ({"disks": [{"path": "/a"}] * 5000}, ["disks", "4096"]),
    ({"net": [{"mac": "ff:ff:ff:ff:ff:ff"}]}, ["net[0].mac", "ff:ff:ff:ff:ff:ff"]),
    ({"net": [{"num_queues": 3}]}, ["net[0].num_queues", "3"]),
    ({"net": [{"num_fds": 1}]}, ["net[0].num_fds", "1"]),
    ({"serial": {"mode": "Socket"}}, ["serial."]),
    ({"serial": {"mode": "tty"}}, ["serial.mode", '"tty"']),
    ({"serial": {"mode": "File"}}, ["serial.file"]),
    ({"serial": {"mode": "File", "file": "/nowhere/log"}}, ["/nowhere/log"]),
    ({"rng": {"src": "/dev/zero"}}, ["rng.src", "/dev/zero"]),
    ({"platform": {"num_pci_segments": 0}}, ["platform.num_pci_segments"]),
    ({"platform": {"num_pci_segments": 17}}, ["platform.num_pci_segments"]),
    ({"disks": [{"path": "/a", "pci_segment": 1}]}, ["pci_segment: 1 of device _disk0 is not below 1"]),
    ({"balloon": {}}, ["balloon.size"]), ({"balloon": {"size": 64 << 20}}, ["balloon", "64 MiB"]),
    ({"balloon": {"size": 0}, "memory": {"size": 64 << 20, "hugepages": True}}, ["balloon", "huge pages"]),
    ({"balloon": {"size": 0, "id": "__other"}}, ["balloon.id", "__other"]),
    ({"balloon": {"size": 0, "id": "x"}, "disks": [{"path": "/a", "id": "x"}]}, ["id x", "twice"]),
    ({"vsock": {"cid": 2, "socket": "/s"}}, ["vsock.cid", "2"]),
    ({"vsock": {"cid": 3}}, ["vsock.socket"]),
    ({"vsock": {"cid": 3, "socket": "/" + 96 * "s"}}, ["vsock.socket"]),
    ({"vsock": {"cid": 3, "socket": "/s", "iommu": True}}, ["vsock.iommu"]),
    ({"vsock": {"cid": 3, "socket": "/s", "id": "a"}, "disks": [{"path": "/a", "id": "a"}]}, ["id a", "twice"]),
    ({"fs": [{"tag": "a"}]}, ["fs[0].socket"]), ({"fs": [{"tag": "", "socket": "/s"}]}, ["fs[0].tag"]),
    ({"fs": [{"tag": "a", "socket": "/s"}, {"tag": "b", "socket": "/s"}]}, ["fs[1].socket", "fs[0]"]),
    ({"fs": [{"tag": "a", "socket": "/s"}, {"tag": "a", "socket": "/t"}]}, ["fs[1].tag", "fs[0]"]),
    ({"fs": [{"tag": "a", "socket": "/s", "id": "x"}], "disks": [{"path": "/a", "id": "x"}]}, ["id x", "twice"]),
])
def test_a_vm_that_cannot_be_is_refused_by_field_and_value(api, fields, words):
    chain = refused(api, "vm.create", json.dumps({**vm_config(), **fields}).encode())
    for word in words:
        assert word in chain[-1], chain
    assert api.ask("GET", "/api/v1/vm.info").status == 404
    api.put("vm.create", vm_config())


def test_unknown_fields_are_passed_over_and_null_is_absent(api):
    api.put("vm.create", {**vm_config(), "kernel": None, "sgx_epc": [1], "disks": None, "net": None, "vsock": None,
                          "memory": {"size": 64 << 20, "zones": None, "hotplug_size": None, "odd": {"a": [1]}}})
    config = api.get("vm.info")["config"]
    assert config["disks"] == []
    assert "vsock" not in config and "zones" not in config["memory"] and "hotplug_size" not in config["memory"]


def test_of_two_fields_with_one_name_the_last_counts(api):
    body = json.dumps(vm_config()).encode()
    body = body.replace(b'"memory": {', b'"memory": {"size": 1, "size": 7340032, "size": 134217728}, "memory": {')
    assert api.ask("PUT", "/api/v1/vm.create", body).status == 204
    assert api.get("vm.info")["memory_actual_size"] == 64 << 20


def test_where_a_core_dump_goes_is_a_file_url(api):
    api.put("vm.create", vm_config())
    for url in ("", "/tmp/core", "file://", "file://host/core", "http:///core", "file:core"):
        chain = refused(api, "vm.coredump", json.dumps({"destination_url": url}).encode())
        assert "destination_url" in chain[-1]


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/", 404), ("GET", "/api/v1", 404), ("GET", "/api/v1/vm.info/", 404), ("PUT", "/api/v1/vm.none", 404),
    ("GET", "/api/v1/vm.boot", 405), ("PUT", "/api/v1/vm.info", 405), ("POST", "/api/v1/vm.create", 405),
    ("DELETE", "/api/v1/vm.delete", 405), ("PATCH", "/api/v1/vm.info", 405), ("BREW", "/api/v1/vm.info", 405),
])
def test_paths_and_methods_that_are_not_there(api, method, path, status):
    answer = api.ask(method, path)
    assert answer.status == status
    assert answer.reason == {404: "Not Found", 405: "Method Not Allowed"}[status]
    assert isinstance(answer.json(), list)
    assert api.get("vmm.ping")
