"""vm.resize before the boot: what is asked for is checked, named and kept for the next boot."""

import pytest

from tests.support.api import refusal
from tests.support.serve import vm_config


def cpus(api) -> tuple[int, int]:
    config = api.get("vm.info")["config"]["cpus"]
    return config["boot_vcpus"], config["max_vcpus"]


def test_the_number_of_cpus_of_the_next_boot_changes(api):
    api.put("vm.create", vm_config(cpus={"boot_vcpus": 2, "max_vcpus": 4}))
    for count in (4, 4, 1, 3):
        assert api.put("vm.resize", {"desired_vcpus": count, "desired_ram": None, "desired_balloon": None}) is None
        assert cpus(api) == (count, 4)
    assert api.put("vm.resize", {}) is None
    assert cpus(api) == (3, 4)


@pytest.mark.parametrize("body, words", [
    ({"desired_vcpus": 0}, ["desired_vcpus", "1"]),
    ({"desired_vcpus": 5}, ["desired_vcpus", "max_vcpus", "4"]),
    ({"desired_vcpus": 1 << 32}, ["desired_vcpus"]),
    ({"desired_vcpus": "2"}, ["desired_vcpus"]),
    ({"desired_balloon": 1 << 20}, ["desired_balloon", "no balloon"]),
    ({"desired_ram": 0}, ["desired_ram", "size"]),
    ({"desired_ram": (64 << 20) + 1}, ["desired_ram", "size"]),
    ({"desired_ram": 1 << 60}, ["desired_ram", "size"]),
    ({"desired_ram": "1G"}, ["desired_ram"]),
])
def test_a_size_that_cannot_be_is_400_and_changes_nothing(api, body, words):
    api.put("vm.create", vm_config(cpus={"boot_vcpus": 2, "max_vcpus": 4}))
    before = api.get("vm.info")
    error = refusal(api.put, "vm.resize", body)
    assert error.status == 400
    assert all(word in str(error) for word in words), error
    assert api.get("vm.info") == before


def test_memory_of_the_next_boot_changes(api):
    api.put("vm.create", vm_config(memory={"size": 64 << 20, "hotplug_size": (1 << 30) + 12345}))
    assert api.put("vm.resize", {"desired_ram": 256 << 20}) is None
    info = api.get("vm.info")
    assert info["config"]["memory"]["size"] == info["memory_actual_size"] == 256 << 20
    assert info["config"]["memory"]["hotplug_size"] == (1 << 30) + 12345
    assert "boot_size" not in info["config"]["memory"]


@pytest.mark.parametrize("memory", [
    {"boot_size": 65 << 20}, {"boot_size": 0}, {"boot_size": 32 << 20}, {"boot_size": 32 << 20, "hotplug_size": 1 << 30},
    {"hotplug_size": 1 << 60},
])
def test_memory_that_cannot_be_is_400_and_names_the_field(api, memory):
    error = refusal(api.put, "vm.create", vm_config(memory={"size": 64 << 20, **memory}))
    assert error.status == 400 and "memory." in str(error) and list(memory)[0] in str(error)


def test_memory_that_has_grown_is_created_again(api):
    memory = {"size": 320 << 20, "boot_size": 64 << 20, "hotplug_size": 1 << 30}
    api.put("vm.create", vm_config(memory=memory))
    info = api.get("vm.info")
    assert info["memory_actual_size"] == 320 << 20
    assert memory.items() <= info["config"]["memory"].items()


def test_there_are_no_memory_zones(api):
    api.put("vm.create", vm_config())
    assert refusal(api.put, "vm.resize-zone", {"id": "mem0"}).status == 400
    error = refusal(api.put, "vm.resize-zone", {"id": "mem0", "desired_ram": 1 << 30})
    assert error.status == 404 and "mem0" in str(error)


def test_more_cpus_than_hako_can_give_are_no_reason_to_refuse_the_vm(api):
    api.put("vm.create", vm_config(cpus={"boot_vcpus": 1, "max_vcpus": 200}))
    assert cpus(api) == (1, 200)
    assert "64" in str(refusal(api.put, "vm.resize", {"desired_vcpus": 65}))


def test_a_balloon_has_the_size_of_the_last_request(api):
    api.put("vm.create", vm_config(balloon={"size": 1 << 20, "free_page_reporting": True, "id": None}))
    assert api.get("vm.info")["config"]["balloon"] == {
        "size": 1 << 20, "deflate_on_oom": False, "free_page_reporting": True, "pci_segment": 0, "id": "__balloon"}
    for size, pages in ((0, 0), (8 << 20, 2048), (8 << 20, 2048), (5000, 1)):
        assert api.put("vm.resize", {"desired_balloon": size}) is None
        assert api.get("vm.info")["config"]["balloon"]["size"] == pages * 4096
    # It has no machine yet, so nothing is given.
    assert api.get("vm.info")["memory_actual_size"] == 64 << 20
    before = api.get("vm.info")
    for size in (64 << 20, 1 << 63):
        error = refusal(api.put, "vm.resize", {"desired_balloon": size})
        assert error.status == 400 and "desired_balloon" in str(error), error
    assert refusal(api.put, "vm.remove-device", {"id": "__balloon"}).status == 404
    assert api.get("vm.info") == before
    # As clients send what they were told.
    api.put("vm.delete")
    api.put("vm.create", before["config"])
    assert api.get("vm.info") == before


def test_memory_does_not_shrink_below_the_balloon(api):
    api.put("vm.create", vm_config(memory={"size": 256 << 20, "hotplug_size": 1 << 30}, balloon={"size": 100 << 20}))
    error = refusal(api.put, "vm.resize", {"desired_ram": 64 << 20})
    assert error.status == 400 and "balloon" in str(error), error
    assert api.get("vm.info")["memory_actual_size"] == 256 << 20
    api.put("vm.resize", {"desired_ram": 128 << 20})


def test_memory_that_a_device_plugs_has_the_size_of_the_last_request(api):
    memory = {"size": 64 << 20, "hotplug_size": 1 << 30, "hotplug_method": "VirtioMem"}
    api.put("vm.create", vm_config(memory=memory))
    for wanted in (0, 6 << 20, 6 << 20, 1 << 30, 2 << 20):
        assert api.put("vm.resize", {"desired_ram": (64 << 20) + wanted}) is None
        info = api.get("vm.info")
        assert {**memory, "hotplugged_size": wanted}.items() <= info["config"]["memory"].items()
        # It has no machine yet, so nothing is plugged.
        assert info["memory_actual_size"] == 64 << 20
    for wanted in (63 << 20, 65 << 20, (64 << 20) + (1 << 30) + (2 << 20), 1 << 63):
        error = refusal(api.put, "vm.resize", {"desired_ram": wanted})
        assert error.status == 400 and "desired_ram" in str(error), error
    assert api.get("vm.info") == info
    # As clients send what they were told.
    api.put("vm.delete")
    api.put("vm.create", info["config"])
    assert api.get("vm.info") == info
