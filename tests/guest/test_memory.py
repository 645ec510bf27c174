"""Memory that comes and goes, with a guest that answers, one that keeps what it has and one that is deaf. Runs on
any KVM."""

import os
from pathlib import Path

import pytest

from tests.guest.test_migration import goes_on, move, poll, receive, server, slow, url_of, wait_for_end  # noqa: F401
from tests.support.api import refusal
from tests.support.serve import vm_config

MIB = 1 << 20
UNIT = 128 * MIB
LEAST = 64 * MIB


def boot(server, api, test: str = "memory") -> None:  # noqa: F811
    api.put("vm.create", vm_config(test, serial={"mode": "Tty"}, memory={"size": LEAST, "hotplug_size": 8 * UNIT}))
    api.put("vm.boot")
    goes_on(server, 1)


def told(api) -> int:
    info = api.get("vm.info")
    assert info["memory_actual_size"] == info["config"]["memory"]["size"]
    return info["memory_actual_size"]


def says(server, since: int, *lines: str) -> None:  # noqa: F811
    """In any order: the guest looks at one piece after the other, wherever it is."""
    poll(lambda: all(line in server.console_text()[since:] for line in lines), f"the guest does not say {lines}")


def grow(server, api, units: int) -> None:  # noqa: F811
    """By whole pieces, each of one unit."""
    first = (told(api) - LEAST) // UNIT
    before = len(server.console_text())
    assert api.put("vm.resize", {"desired_ram": LEAST + units * UNIT}) is None
    assert told(api) == LEAST + units * UNIT
    says(server, before, *(f"piece {piece:#018x} has come" for piece in range(first, units)))


def shrink(api, units: int) -> None:
    assert api.put("vm.resize", {"desired_ram": LEAST + units * UNIT}) is None
    poll(lambda: told(api) == LEAST + units * UNIT, "the memory does not go")


def held(pid: int) -> dict[str, int]:
    """What the process has, and bytes of guest memory that the host has given."""
    fds = [Path(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    ram = next(fd for fd in fds if "hako-ram" in os.readlink(fd))
    return {"fds": len(fds), "threads": len(threads(pid)), "bytes": os.stat(ram).st_blocks * 512,
            "maps": Path(f"/proc/{pid}/maps").read_text().count("hako-ram")}


def threads(pid: int) -> list[str]:
    """The kernel's own workers for io_uring come and go as they like."""
    names = []
    for comm in Path(f"/proc/{pid}/task").glob("*/comm"):
        try:
            names.append(comm.read_text())
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile
    return [name for name in names if not name.startswith("iou-")]


def test_memory_comes_and_goes_many_times_and_leaves_nothing(server):  # noqa: F811
    vm = server()
    with vm.api() as api:
        boot(vm, api)
        grow(vm, api, 1)
        shrink(api, 0)
        before = held(vm.pid)
        for _ in range(12):
            grow(vm, api, 3)
            assert held(vm.pid)["bytes"] > before["bytes"]
            shrink(api, 1)
            shrink(api, 1)
            grow(vm, api, 8)
            shrink(api, 0)
            assert held(vm.pid) == before
        goes_on(vm)


def test_sizes_that_cannot_be_are_refused(server):  # noqa: F811
    vm = server()
    with vm.api() as api:
        boot(vm, api)
        grow(vm, api, 2)
        for wanted in (LEAST - UNIT, LEAST + UNIT // 2, LEAST + 9 * UNIT, 0, 1 << 63):
            assert refusal(api.put, "vm.resize", {"desired_ram": wanted}).status == 400
        assert told(api) == LEAST + 2 * UNIT
        goes_on(vm)


def test_what_the_guest_keeps_stays_and_what_it_gave_up_comes_again(server):  # noqa: F811
    vm = server()
    with vm.api() as api:
        boot(vm, api, "memory-kept")
        grow(vm, api, 4)
        before = len(vm.console_text())
        api.put("vm.resize", {"desired_ram": LEAST})
        says(vm, before, *(f"piece {piece:#018x} {what}" for piece, what in enumerate(["has gone", "is kept"] * 2)))
        assert told(api) == LEAST + 4 * UNIT
        poll(lambda: held(vm.pid)["bytes"] < LEAST, "the host gets nothing back")
        before = len(vm.console_text())
        assert api.put("vm.resize", {"desired_ram": LEAST + 5 * UNIT}) is None
        says(vm, before, *(f"piece {piece:#018x} has come" for piece in (0, 2, 4)))
        # The last one goes, since its number is even; the one before stays.
        api.put("vm.resize", {"desired_ram": LEAST + 3 * UNIT})
        poll(lambda: told(api) == LEAST + 4 * UNIT, "the last piece does not go")
        goes_on(vm)


def test_a_guest_that_does_not_answer_keeps_its_memory(server):  # noqa: F811
    vm = server()
    with vm.api() as api:
        boot(vm, api, "dirty")
        api.put("vm.resize", {"desired_ram": LEAST + 4 * UNIT})
        for _ in range(2):
            assert api.put("vm.resize", {"desired_ram": LEAST + UNIT}) is None
            assert told(api) == LEAST + 4 * UNIT
        for wanted in (LEAST + 2 * UNIT, LEAST + 4 * UNIT, LEAST + 8 * UNIT):
            error = refusal(api.put, "vm.resize", {"desired_ram": wanted})
            assert error.status == 429 and "Too Many Requests" in error.chain
        # It is there for good from the next boot on.
        api.put("vm.reboot")
        assert told(api) == LEAST + 4 * UNIT
        assert api.put("vm.resize", {"desired_ram": LEAST + 6 * UNIT}) is None
        assert told(api) == LEAST + 6 * UNIT
        assert refusal(api.put, "vm.resize", {"desired_ram": LEAST + UNIT}).status == 400
        goes_on(vm)


@pytest.mark.parametrize("mode", ["Copy", "OnDemand"])
def test_memory_that_has_grown_is_saved_and_goes_after_that(server, tmp_path, mode):  # noqa: F811
    folder = tmp_path / "snapshot"
    folder.mkdir()
    source, copy = server(), server()
    with source.api() as api:
        boot(source, api)
        grow(source, api, 3)
        assert api.put("vm.snapshot", {"destination_url": f"file://{folder}", "live": True})
        goes_on(source)
    with copy.api() as api:
        api.put("vm.restore", {"source_url": f"file://{folder}", "memory_restore_mode": mode, "resume": True})
        assert told(api) == LEAST + 3 * UNIT
        goes_on(copy)
        shrink(api, 2)
        grow(copy, api, 5)
        shrink(api, 0)
        grow(copy, api, 2)
        goes_on(copy)


def test_changes_of_memory_that_grows_and_shrinks_end_the_log(server, tmp_path):  # noqa: F811
    folders = [tmp_path / name for name in ("base", "next")]
    for folder in folders:
        folder.mkdir()
    vm = server()
    with vm.api() as api:
        boot(vm, api)
        grow(vm, api, 1)
        api.put("vm.snapshot", {"destination_url": f"file://{folders[0]}", "live": True, "track": True})
        grow(vm, api, 2)
        error = refusal(api.put, "vm.snapshot", {"destination_url": f"file://{folders[1]}", "live": True,
                                                 "base_url": f"file://{folders[0]}"})
        assert error.status in (400, 409)
        goes_on(vm)


@pytest.mark.parametrize("fields", [{}, {"local": True}], ids=["unix", "local"])
def test_memory_that_has_grown_moves(server, fields):  # noqa: F811
    source, destination = server(), server()
    with source.api() as api:
        boot(source, api)
        grow(source, api, 3)
    move(source, destination, **fields)
    goes_on(destination)
    with destination.api() as api:
        assert told(api) == LEAST + 3 * UNIT
        shrink(api, 1)
        grow(destination, api, 4)
        shrink(api, 0)
    goes_on(destination)


def test_a_size_is_refused_while_the_vm_moves(server):  # noqa: F811
    source, destination = server(), server()
    with source.api() as api, receive(destination, url_of(destination)) as answer:
        boot(source, api)
        grow(source, api, 2)
        # What the guest lets go of meanwhile waits.
        api.put("vm.resize", {"desired_ram": LEAST + UNIT})
        slow(source, destination)
        assert refusal(api.put, "vm.resize", {"desired_ram": LEAST}).status == 409
        api.put("vm.cancel-migration")
        assert wait_for_end(api)["status"] == "cancelled"
        assert answer.response().status == 500
        poll(lambda: told(api) == LEAST + UNIT, "the memory does not go")
        shrink(api, 0)
    goes_on(source)
