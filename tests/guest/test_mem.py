"""Memory that a guest plugs and unplugs block by block (virtio-mem): sizes, the host's memory, snapshots, migrations.
Runs on any KVM."""

import os
import re
from pathlib import Path

import pytest

from tests.contract.test_metrics import scrape
from tests.guest.test_memory import held
from tests.guest.test_migration import goes_on, move, poll, server  # noqa: F401
from tests.support.api import refusal
from tests.support.serve import vm_config

MIB = 1 << 20
BLOCK = 2 * MIB
LEAST = 64 * MIB
ROOM = 256 * MIB
#: The guest writes one page of 64, and 4 KiB pages are what a memfd has.
WRITTEN = 64


def boot(server, api, test: str = "mem", requested: int = 0, **memory) -> None:  # noqa: F811
    api.put("vm.create", vm_config(test, serial={"mode": "Tty"}, memory={
        "size": LEAST, "hotplug_size": ROOM, "hotplug_method": "VirtioMem", "hotplugged_size": requested * BLOCK, **memory}))
    api.put("vm.boot")
    server.wait_for("ready\n")


def told(api) -> tuple[int, int]:
    """Blocks that the guest is asked to have, and that it has."""
    info = api.get("vm.info")
    memory = info["config"]["memory"]
    assert memory["size"] == LEAST and memory["hotplug_method"] == "VirtioMem"
    return memory["hotplugged_size"] // BLOCK, (info["memory_actual_size"] - LEAST) // BLOCK


def ask(api, blocks: int) -> None:
    assert api.put("vm.resize", {"desired_ram": LEAST + blocks * BLOCK}) is None
    assert told(api)[0] == blocks


def resize(server, api, blocks: int) -> None:  # noqa: F811
    ask(api, blocks)
    poll(lambda: told(api) == (blocks, blocks), f"{blocks} blocks, the guest has {told(api)}")


def given_back(server, before: int, blocks: int) -> None:  # noqa: F811
    """The host has no more than what the guest wrote into its blocks."""
    most = before + blocks * BLOCK // WRITTEN + MIB
    poll(lambda: held(server.pid)["bytes"] <= most, f"the host has not all back but {most} bytes")


def test_blocks_come_and_go_many_times_and_leave_nothing(server):  # noqa: F811
    vm = server()
    with vm.api() as api:
        boot(vm, api)
        assert told(api) == (0, 0)
        resize(vm, api, 1 + 1)
        resize(vm, api, 0)
        given_back(vm, 0, 0)
        before = held(vm.pid)
        for _ in range(12):
            resize(vm, api, 100)
            ask(api, 100)
            assert held(vm.pid)["bytes"] >= before["bytes"] + 100 * BLOCK // WRITTEN
            resize(vm, api, 37)
            given_back(vm, before["bytes"], 37)
            resize(vm, api, 128)
            resize(vm, api, 0)
            given_back(vm, before["bytes"], 0)
        now = held(vm.pid)
        assert {**now, "bytes": 0} == {**before, "bytes": 0}
        counters = api.get("vm.counters")["__mem"]
        assert counters["plugged_bytes"] == counters["requested_bytes"] == 0 and counters["region_bytes"] == ROOM
        assert counters["discarded_bytes"] > 12 * 128 * BLOCK and counters["kept_bytes"] == 0
        assert counters["errors"] == 2  # what the guest tries first
        resize(vm, api, 5)
        assert scrape(api)['hako_mem_plugged_bytes{device="__mem"}'] == 5 * BLOCK
        assert scrape(api)["hako_guest_memory_bytes"] == LEAST + 5 * BLOCK
        assert refusal(api.put, "vm.remove-device", {"id": "__mem"}).status == 400
        goes_on(vm)
        ask(api, 1)
        vm.wait_for("PASS: mem\n")


@pytest.fixture
def huge_pages():
    """80 of them, where this host can set some aside."""
    setting = Path("/proc/sys/vm/nr_hugepages")
    before = setting.read_text()
    try:
        setting.write_text(str(int(before) + 80))
    except OSError:
        pytest.skip("huge pages cannot be set aside here")
    yield
    setting.write_text(before)


def test_huge_pages_that_the_host_has_not_are_refused_and_not_missed(server, huge_pages):  # noqa: F811
    def free() -> int:
        return int(re.search(r"HugePages_Free: *([0-9]+)", Path("/proc/meminfo").read_text())[1])

    if free() < 80:
        pytest.skip("this host has no memory for huge pages")
    vm = server()
    with vm.api() as api:
        boot(vm, api, hugepages=True, hugepage_size=BLOCK, prefault=True)
        resize(vm, api, 32)
        ask(api, 128)
        poll(lambda: api.get("vm.counters")["__mem"]["refused"] > 2, "no request is refused")
        assert told(api)[1] == 48  # beside the 32 of the VM that booted
        goes_on(vm)
        resize(vm, api, 8)
        poll(lambda: free() == 80 - 32 - 8, "the host gets nothing back")
        resize(vm, api, 16)
        ask(api, 1)
        vm.wait_for("PASS: mem\n")


def test_sizes_that_cannot_be_are_refused(server):  # noqa: F811
    vm = server()
    with vm.api() as api:
        boot(vm, api)
        resize(vm, api, 3)
        for wanted in (LEAST - BLOCK, LEAST + MIB, LEAST + ROOM + BLOCK, 0, 1 << 63):
            assert refusal(api.put, "vm.resize", {"desired_ram": wanted}).status == 400
        assert told(api) == (3, 3)
        goes_on(vm)


def test_what_the_guest_keeps_shows_and_a_reboot_unplugs_it(server):  # noqa: F811
    vm = server()
    with vm.api() as api:
        boot(vm, api, "mem-kept", requested=20)
        assert told(api) == (20, 20)
        for _ in range(2):
            ask(api, 4)
            goes_on(vm)
            assert told(api) == (4, 20)
        ask(api, 30)
        assert told(api) == (30, 20)
        api.put("vm.reboot")
        vm.wait_for("ready\n")
        assert told(api) == (30, 30)
        ask(api, 0)
        api.put("vm.reboot")
        vm.wait_for("ready\n")
        assert told(api) == (0, 0)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("mode", ["Copy", "OnDemand"])
def test_plugged_blocks_are_saved_and_unplugged_ones_are_not(server, tmp_path, mode, live):  # noqa: F811
    folder = tmp_path / "snapshot"
    folder.mkdir()
    source, copy = server(), server()
    with source.api() as api:
        boot(source, api)
        resize(source, api, 120)
        # What the guest keeps of what it had is all that there is to save.
        ask(api, 20)
        poll(lambda: told(api) == (20, 20), "the blocks do not go")
        if not live:
            api.put("vm.pause")
        fields = {"live": True} if live else {}
        api.put("vm.snapshot", {"destination_url": f"file://{folder}", **fields})
        assert (folder / "memory-ranges").stat().st_size == LEAST + ROOM
        assert os.stat(folder / "memory-ranges").st_blocks * 512 < 20 * BLOCK // WRITTEN + 4 * MIB
        if live:
            goes_on(source)
    with copy.api() as api:
        api.put("vm.restore", {"source_url": f"file://{folder}", "memory_restore_mode": mode, "resume": True})
        assert told(api) == (20, 20)
        goes_on(copy)
        if mode == "Copy":
            given_back(copy, 4 * MIB, 20)
        for blocks in (90, 10, 128, 0, 40):
            resize(copy, api, blocks)
        goes_on(copy)
        ask(api, 1)
        copy.wait_for("PASS: mem\n")


@pytest.mark.parametrize("mode", ["Copy", "OnDemand"])
def test_a_chain_of_snapshots_has_what_is_plugged(server, tmp_path, mode):  # noqa: F811
    folders = [tmp_path / name for name in ("base", "next")]
    for folder in folders:
        folder.mkdir()
    source, copy = server(), server()
    with source.api() as api:
        boot(source, api)
        resize(source, api, 100)
        api.put("vm.snapshot", {"destination_url": f"file://{folders[0]}", "live": True, "track": True})
        resize(source, api, 10)
        resize(source, api, 30)
        api.put("vm.snapshot", {"destination_url": f"file://{folders[1]}", "live": True,
                                "base_url": f"file://{folders[0]}"})
        goes_on(source)
        # Who saves does not fill up what is not there; blocks that came meanwhile are read whole.
        given_back(source, 4 * MIB + 20 * BLOCK, 10)
    with copy.api() as api:
        api.put("vm.restore", {"source_url": f"file://{folders[1]}", "memory_restore_mode": mode, "resume": True})
        assert told(api) == (30, 30)
        goes_on(copy)
        if mode == "Copy":
            given_back(copy, 4 * MIB, 30)
        for blocks in (128, 0, 20):
            resize(copy, api, blocks)
        goes_on(copy)


@pytest.mark.parametrize("fields", [{}, {"connections": 3}, {"local": True}, {"memory_mode": "Postcopy", "downtime_ms": 1},
                                    {"timeout_strategy": "Postcopy", "timeout_s": 1, "bandwidth": 1 << 18}],
                         ids=["unix", "three", "local", "postcopy", "cut"])
def test_a_guest_moves_with_what_is_plugged(server, fields):  # noqa: F811
    source, destination = server(), server()
    with source.api() as api:
        boot(source, api)
        resize(source, api, 128)
        resize(source, api, 24)
    progress = move(source, destination, **fields)
    cut = "timeout_strategy" in fields
    assert progress.get("postcopy") or not cut
    goes_on(destination)
    with destination.api() as api:
        assert told(api) == (24, 24)
        # Of a round that was cut all pages come, those that are zeros too.
        given_back(destination, LEAST + 24 * BLOCK if cut else 4 * MIB, 24)
        for blocks in (100, 3, 128, 0):
            resize(destination, api, blocks)
        given_back(destination, LEAST if cut else 4 * MIB, 0)
        ask(api, 1)
        destination.wait_for("PASS: mem\n")


def test_a_core_dump_has_what_is_plugged(server, tmp_path):  # noqa: F811
    vm = server()
    with vm.api() as api:
        boot(vm, api)
        resize(vm, api, 12)
        api.put("vm.coredump", {"destination_url": f"file://{tmp_path}/core"})
        core = os.stat(tmp_path / "core")
        assert core.st_size > LEAST + ROOM and core.st_blocks * 512 < 12 * BLOCK // WRITTEN + 4 * MIB
        goes_on(vm)
