"""A guest that reloads its watchdog, and one that has stopped doing so: here, after a snapshot, after a migration. Runs on any KVM.

The guest is rebooted then, finds out why, and powers off.
"""

import signal

import pytest

from tests.contract.test_events import kept
from tests.contract.test_metrics import scrape
from tests.guest.test_guest import guest
from tests.guest.test_migration import goes_on, move, server  # noqa: F401 (a fixture)
from tests.guest.test_serve import wait_for_state
from tests.support.api import refusal
from tests.support.hako import Machine
from tests.support.serve import vm_config

TTY = {"serial": {"mode": "Tty"}}


def boot(host) -> None:
    with host.api() as api:
        api.put("vm.create", vm_config("watchdog", watchdog=True, **TTY))
        assert api.get("vm.info")["config"]["watchdog"] is True
        api.put("vm.boot")
    goes_on(host)


def events(api) -> list[str]:
    return [event["event"] for event in kept(api) if event["source"] == "guest" or "reboot" in event["event"]]


def leave_alone(host, api) -> None:
    """The guest reloads it no more from now on."""
    api.put("vm.power-button")
    host.wait_for("left alone\n")


def expires(host, api) -> None:
    """A guest that is left alone is rebooted, and ends."""
    host.wait_for("PASS: watchdog\n")
    wait_for_state(api, "Created")
    assert events(api) == ["watchdog", "rebooting", "rebooted"]
    assert scrape(api)["hako_watchdog_resets_total"] == 1


def test_a_guest_that_stops_to_reload_is_rebooted(server):  # noqa: F811
    host = server()
    boot(host)
    with host.api() as api:
        counters = api.get("vm.counters")["__watchdog"]
        assert counters["kicks"] > 4096
        metrics = scrape(api)
        assert metrics['hako_watchdog_kicks_total{device="__watchdog"}'] >= counters["kicks"]
        assert metrics["hako_watchdog_resets_total"] == 0
        for removal in ({"id": "__watchdog"}, {"id": "__watchdog", "force": True}):
            assert refusal(api.put, "vm.remove-device", removal).status == 400
        assert events(api) == []
        leave_alone(host, api)
        expires(host, api)


def test_without_reboot_the_machine_ends():
    with Machine(*guest("watchdog", "--watchdog", "--no-reboot")) as machine:
        machine.wait_for("round ")
        machine.signal(signal.SIGTERM)
        outcome = machine.wait()
    assert outcome.code == 3, outcome
    assert outcome.stderr.splitlines()[-1].endswith("the guest did not reload its watchdog in time"), outcome


@pytest.mark.parametrize("mode", ["Copy", "OnDemand"])
@pytest.mark.parametrize("alone", [False, True], ids=["kicked", "alone"])
def test_it_goes_along_with_a_snapshot(server, tmp_path, mode, alone):  # noqa: F811
    first, second = server(), server()
    boot(first)
    saved = tmp_path / "saved"
    saved.mkdir()
    with first.api() as api:
        if alone:
            leave_alone(first, api)
        api.put("vm.pause")
        api.put("vm.snapshot", {"destination_url": f"file://{saved}"})
        assert events(api) == []
        api.put("vm.delete")
    with second.api() as api:
        api.put("vm.restore", {"source_url": f"file://{saved}", "memory_restore_mode": mode, "resume": True})
        assert api.get("vm.info")["config"]["watchdog"] is True
        if not alone:
            goes_on(second)
            assert events(api) == []
            leave_alone(second, api)
        expires(second, api)


def test_it_goes_along_with_a_migration(server):  # noqa: F811
    source, destination = server(), server()
    boot(source)
    move(source, destination)
    goes_on(destination)
    with source.api() as api:
        assert events(api) == []
    with destination.api() as api:
        assert events(api) == []
        leave_alone(destination, api)
        expires(destination, api)
