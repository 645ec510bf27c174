"""Guests that boot, reboot, power off, panic or triple-fault while they move: that comes to its end, on one side. Runs on
any KVM."""

import contextlib

import pytest

from tests.contract.test_events import kept
from tests.guest.test_migration import TTY, poll, receive, server, url_of, wait_for_end, wait_for_no_vm  # noqa: F401
from tests.guest.test_migration_faults import assert_never_two
from tests.support.api import refusal
from tests.support.migration_proxy import Fault, Proxy
from tests.support.serve import Server, vm_config

#: What the guest is told, and what comes of it.
ORDERS = {"o": "power-off", "r": "rebooted", "p": "panic", "t": "triple-fault"}


@pytest.fixture
def pair(tmp_path):
    """A source and a destination, to whose guest one can type."""
    with contextlib.ExitStack() as stack:
        folders = [tmp_path / name for name in ("source", "destination")]
        for folder in folders:
            folder.mkdir()
        yield [stack.enter_context(Server(folder, "-v", typing=True)) for folder in folders]


def boot(one: Server) -> None:
    with one.api() as api:
        api.put("vm.create", vm_config("obey", **TTY))
        api.put("vm.boot")


def ends(api) -> list[str]:
    """What the guest did to itself."""
    return [(event["properties"] or {}).get("reason", event["event"]) for event in kept(api)
            if event["event"] in ("ended", "rebooted")]


def assert_ended(one: Server, api, order: str) -> None:
    poll(lambda: ORDERS[order] in ends(api), f"the guest does not end as it was told to, but {ends(api)}")
    assert set(ends(api)) == {ORDERS[order]}
    if order == "r":
        one.wait_for("ready\n")
        one.type("o")
        poll(lambda: "power-off" in ends(api), "the guest is not there after its reboot")
    poll(lambda: api.get("vm.info")["state"] == "Created", "the machine does not end")
    # It can live again, and move.
    api.put("vm.boot")
    one.wait_for("ready\n")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("frame", ["HELLO", "PAGES", "ROUND", "ROUND_DONE", "STATE", "LOCKED", "RUNNING"])
def test_a_guest_ends_while_it_moves(pair, tmp_path, frame, order):
    """It is told when that frame passes by, and ends when it gets to it: at the source before the pause, or at the
    destination, or not at all: what was typed may still be in the source's terminal."""
    source, destination = pair
    boot(source)
    source.wait_for("ready\n")
    fault = Fault(frame, strike=lambda: source.type(order))
    with receive(destination, url_of(destination)) as answer, source.api() as here, destination.api() as there:
        with Proxy(tmp_path, f"{destination.folder}/migration.sock", fault) as proxy:
            here.put("vm.send-migration", {"destination_url": proxy.url})
            progress = wait_for_end(here)
            if progress["status"] != "finished" and "negotiating" not in [step["step"] for step in progress["steps"]]:
                there.put("vm.cancel-migration")
            came = answer.response().status == 204
        assert came == (progress["status"] == "finished"), progress
        if came:
            wait_for_no_vm(here)
            assert ends(here) == []
            poll(lambda: destination.type("o") or there.get("vm.info")["state"] == "Created", "the guest does not end")
            assert set(ends(there)) <= {ORDERS[order], "power-off"}
        else:
            assert progress["status"] in ("cancelled", "failed") and progress["error"], progress
            assert_ended(source, here, order)
            assert refusal(there.get, "vm.info").status == 404
            assert ends(there) == []
    assert_never_two(source, destination)


@pytest.mark.parametrize("order", ORDERS)
def test_a_guest_ends_before_the_pause(pair, order):
    """At the source, which gives the migration up for it."""
    source, destination = pair
    boot(source)
    with receive(destination, url_of(destination)) as answer, source.api() as here:
        here.put("vm.send-migration", {"destination_url": url_of(destination), "bandwidth": 1 << 16})
        poll(lambda: here.get("vm.migration-progress")["step"] == "precopy", "no pages are sent")
        source.type(order)
        assert wait_for_end(here)["status"] == "cancelled"
        assert answer.response().status == 500
        assert_ended(source, here, order)
    with receive(destination, url_of(destination)) as answer, source.api() as here:
        here.put("vm.send-migration", {"destination_url": url_of(destination)})
        assert answer.response().status == 204
    destination.type("o")
    with destination.api() as there:
        poll(lambda: ends(there) == ["power-off"], "the guest does not power off")


def test_a_guest_moves_as_soon_as_it_boots(pair):
    """Back and forth, so that it is caught anywhere in its boot."""
    here, there = pair
    for _ in range(8):
        boot(here)
        with receive(there, url_of(there)) as answer, here.api() as api:
            api.put("vm.send-migration", {"destination_url": url_of(there)})
            assert answer.response().status == 204
            wait_for_no_vm(api)
        there.type("o")
        with there.api() as api:
            poll(lambda: api.get("vm.info")["state"] == "Created", "the guest does not end")
            assert ends(api)[-1] == "power-off"  # what went wrong would be a panic
            api.put("vm.delete")
        here, there = there, here
