"""cloud-init's disk and helper disks before the boot: what is good is built, what is not is refused by its field."""

import base64
import json

import pytest

from tests.support.api import refusal
from tests.support.serve import vm_config

SECRET = "sEcReT"
FILES = {"key": SECRET, "sub/grüße": {"content": SECRET, "mode": 0o400},
         "binary": {"base64": base64.b64encode(bytes(range(256))).decode()}}


def helpers(api) -> list[dict]:
    return api.get("vm.info").get("helper_disks", [])


def disk(**fields) -> dict:
    return {"helper_disks": [{"id": "cm", "files": {"key": SECRET}, **fields}]}


def test_vm_info_tells_sizes_and_checksums_and_nothing_else(server, api):
    api.put("vm.create", vm_config(cloud_init={"user_data": f"#cloud-config\npassword: {SECRET}\n", "hostname": "web"},
                                   helper_disks=[{"id": "cm", "label": "config", "serial": "CM0", "files": FILES},
                                                 {"id": "dos", "format": "vfat", "files": {"a": SECRET}}]))
    text = api.ask("GET", "/api/v1/vm.info").body
    assert SECRET.encode() not in text and b"hostname" not in text
    seed, config, dos = helpers(api)
    assert (seed["id"], seed["label"], seed["serial"], seed["format"]) == ("__seed", "cidata", "cidata", "iso9660")
    assert (config["id"], config["label"], config["serial"], config["format"]) == ("cm", "config", "CM0", "iso9660")
    assert (dos["id"], dos["label"], dos["serial"], dos["format"]) == ("dos", "cfgdata", "dos", "vfat")
    for each in (seed, config, dos):
        assert each["size"] % 512 == 0 and each["size"] > 0
        assert len(each["checksum"]) == 16 and int(each["checksum"], 16)
    assert not any(config["config"].get(key) for config in [api.get("vm.info")] for key in ("cloud_init", "helper_disks"))
    for name in ("/metrics", "/api/v1/events?follow=false&since=0"):
        assert SECRET.encode() not in api.ask("GET", name).body
    assert SECRET not in server.stderr()


def test_the_same_input_is_the_same_disk(api):
    seen = []
    for _ in range(2):
        api.put("vm.create", vm_config(cloud_init={"user_data": "#!/bin/sh\n"}, helper_disks=[{"id": "cm", "files": FILES}]))
        seen.append(helpers(api))
        api.put("vm.delete")
    assert seen[0] == seen[1]


def test_disks_live_in_sealed_memory_and_go_with_the_vm(server, api):
    before = server.fds()
    api.put("vm.create", vm_config(**disk()))
    assert [name for name in server.fds() if "hako-seed" in name] == ["/memfd:hako-seed (deleted)"]
    api.put("vm.delete")
    assert [name for name in server.fds() if "memfd" in name] == [name for name in before if "memfd" in name]


def test_texts_of_one_mebibyte_are_taken(api):
    line = "# " + "x" * 77 + "\n"
    text = "#cloud-config\n" + line * ((1 << 20) // len(line))
    text += "#" * ((1 << 20) - len(text))
    assert len(text) == 1 << 20
    api.put("vm.create", vm_config(cloud_init={"user_data": text, "vendor_data": "#cloud-config\n"}))
    assert helpers(api)[0]["size"] > 1 << 20


@pytest.mark.parametrize("fields, words", [
    ({"cloud_init": {}}, ["cloud_init.user_data", "missing"]),
    ({"cloud_init": {"user_data": f"#cloud-config\na: {SECRET}\n b: 1\n"}}, ["cloud_init.user_data", "line 3, column"]),
    ({"cloud_init": {"user_data": f"hostname: {SECRET}\n"}}, ["cloud_init.user_data", "#cloud-config"]),
    ({"cloud_init": {"user_data": f"#!{SECRET}" + "x" * (1 << 20)}}, ["cloud_init.user_data", "1 MiB"]),
    ({"cloud_init": {"user_data": SECRET + "\0"}}, ["cloud_init.user_data", "NUL"]),
    ({"cloud_init": {"user_data": "", "meta_data": f"- {SECRET}\n"}}, ["cloud_init.meta_data", "mapping"]),
    ({"cloud_init": {"user_data": "", "network_config": "version: 3\n"}}, ["cloud_init.network_config", "version"]),
    ({"cloud_init": {"user_data": "", "vendor_data": SECRET}}, ["cloud_init.vendor_data", "first line"]),
    ({"cloud_init": {"user_data": "", "hostname": "a_b"}}, ["cloud_init.hostname"]),
    ({"cloud_init": {"user_data": "", "instance_id": "a b"}}, ["cloud_init.instance_id"]),
    ({"cloud_init": {"user_data": "", "format": "ext4"}}, ["cloud_init.format", "iso9660", "vfat", "ext4"]),
    (disk(files={"../x": SECRET}), ["helper_disks[0].files", "../x"]),
    (disk(files={"/x": SECRET}), ["helper_disks[0].files", "/x"]),
    (disk(files={"a//b": SECRET}), ["helper_disks[0].files", "a//b"]),
    (disk(files={"a\0b": SECRET}), ["helper_disks[0].files", "control characters"]),
    (disk(files={"x" * 256: SECRET}), ["helper_disks[0].files", "256"]),
    (disk(files={"/".join("abcdefghi"): SECRET}), ["helper_disks[0].files", "8 names"]),
    (disk(files={"a": SECRET, "a/b": SECRET}), ["helper_disks[0].files", "folder, too"]),
    (disk(files={"a": SECRET + "x" * (3 << 20)}), ["helper_disks[0].files", "2 MiB"]),
    (disk(files={str(i): "" for i in range(1025)}), ["helper_disks[0].files", "1024"]),
    (disk(files={"a": {"base64": SECRET}}), ["helper_disks[0].files", "base64"]),
    (disk(files={"a": {"content": SECRET, "mode": 512}}), ["helper_disks[0].files", "mode", "511"]),
    (disk(files={"a": {"content": SECRET, "mode": "0400"}}), ["helper_disks[0].files", "mode"]),
    (disk(files=[SECRET]), ["helper_disks[0].files", "object"]),
    (disk(format="ext4"), ["helper_disks[0].format", "ext4"]),
    (disk(format="vfat", files={"a": {"content": SECRET, "mode": 256}}), ["helper_disks[0].files", "vfat keeps no mode"]),
    (disk(format="vfat", files={"a:b": SECRET}), ["helper_disks[0].files", "vfat"]),
    (disk(format="vfat", files={"a": "", "A": ""}), ["helper_disks[0].files", "case"]),
    (disk(label=""), ["helper_disks[0].label"]),
    (disk(serial="x" * 21), ["helper_disks[0].serial"]),
    (disk(id="__cm"), ["helper_disks[0].id"]),
    ({"helper_disks": [{"id": "a", "files": {}}, {"id": "a", "files": {}}]}, ["helper_disks", "id a", "twice"]),
    ({"disks": [{"path": "/d", "id": "a"}], "helper_disks": [{"id": "a", "files": {}}]}, ["id a", "twice"]),
    ({"helper_disks": [{"id": f"d{i}", "files": {}} for i in range(25)]}, ["helper_disks", "25", "24"]),
])
def test_what_no_disk_can_be_is_refused_by_its_field(server, api, fields, words):
    error = refusal(api.put, "vm.create", vm_config(**fields))
    assert error.status == 400
    for word in words:
        assert word in error.chain[-1], error
    assert SECRET not in str(error)
    assert refusal(api.get, "vm.info").status == 404
    assert SECRET not in server.stderr()
    api.put("vm.create", vm_config())


def test_what_is_wrong_with_an_update_leaves_the_vm_as_it_was(api):
    api.put("vm.create", vm_config(cloud_init={"user_data": ""}, **disk()))
    api.put("vm.add-disk", {"path": "/nowhere", "id": "disk"})
    before = helpers(api)
    for body, status, word in [
            ({"id": "cm", "files": {"../x": SECRET}}, 400, "files"),
            ({"id": "cm", "files": {"x": SECRET * (1 << 19)}}, 400, "files"),
            ({"id": "cm"}, 400, "files"),
            ({"id": "cm", "cloud_init": {"user_data": ""}}, 400, "files"),
            ({"id": "__seed", "files": {}}, 400, "cloud_init"),
            ({"id": "__seed", "cloud_init": {"user_data": "nonsense"}}, 400, "cloud_init.user_data"),
            ({"id": "disk", "files": {}}, 404, "disk"),
            ({"id": "nobody", "files": {}}, 404, "nobody")]:
        error = refusal(api.put, "vm.update-helper", body)
        assert error.status == status and word in error.chain[-1], (body, error)
        assert SECRET not in str(error)
    for name in ("disk", "nobody"):
        assert refusal(api.put, "vm.eject-helper", {"id": name}).status == 404
    assert refusal(api.put, "vm.add-disk", {"path": "/d", "id": "cm"}).status == 409
    assert helpers(api) == before


def test_disks_are_updated_and_ejected_before_the_boot(api):
    api.put("vm.create", vm_config(cloud_init={"user_data": ""}, **disk()))
    before = helpers(api)
    api.put("vm.update-helper", {"id": "cm", "files": {"key": "new"}})
    api.put("vm.update-helper", {"id": "__seed", "cloud_init": {"user_data": "", "instance_id": "clone"}})
    after = helpers(api)
    assert [each["id"] for each in after] == ["__seed", "cm"]
    assert all(old["checksum"] != new["checksum"] for old, new in zip(before, after))
    api.put("vm.update-helper", {"id": "cm", "files": {"key": SECRET}})
    assert helpers(api)[1] == before[1]
    for each in ("cm", "__seed"):
        api.put("vm.eject-helper", {"id": each})
    assert "helper_disks" not in api.get("vm.info")
    lines = api.ask("GET", "/api/v1/events?follow=false&since=0").body.decode().splitlines()
    events = [json.loads(line)["event"] for line in lines if line]
    assert events[2:] == ["helper-updated"] * 3 + ["device-removed"] * 2, events
