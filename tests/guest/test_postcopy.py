"""Machines that run at the destination before their memory is there. Runs on any KVM, on a host with userfaultfd."""

import json
import time

import pytest

from tests.contract.test_events import kept
from tests.guest.test_migration import (boot, disk, goes_on, move, poll, receive, server, url_of, wait_for_end,
                                        wait_for_event, wait_for_no_vm)
from tests.guest.test_migration_faults import Move, assert_counted_on, assert_locked, assert_never_two, kill
from tests.support.api import refusal
from tests.support.migration_proxy import Fault
from tests.support.serve import vm_config

#: The announced restore alone takes longer than this: what is dirty after the first round comes later.
POSTCOPY = {"memory_mode": "Postcopy", "downtime_ms": 1}
#: Of what nobody asks for, so little that the guest comes first.
SLOWLY = {"bandwidth": 2 << 20}


def progress_of(server) -> dict:
    with server.api() as api:
        return api.get("vm.migration-progress")


def wait_for_step(server, step: str) -> dict:
    def look() -> dict | None:
        progress = progress_of(server)
        return progress if progress["step"] == step else None

    return poll(look, f"the migration is never {step}")


def assert_whole(progress: dict) -> dict:
    postcopy = progress["postcopy"]
    assert progress["status"] == "finished" and not progress["error"], json.dumps(progress)
    assert postcopy["pages_missing"] == 0, postcopy
    return postcopy


@pytest.mark.parametrize("connections", [1, 4])
def test_pages_come_as_they_are_touched(server, disk, connections):
    source, destination = server("-v"), server("-v")
    boot(source, disks=[{"path": str(disk)}])
    progress = move(source, destination, connections=connections, **POSTCOPY, **SLOWLY)
    assert progress["phase"] == "over" and progress["step"] == "handed-over"
    assert "serving" in [step["step"] for step in progress["steps"]]
    postcopy = assert_whole(progress_of(destination))
    # It writes 1024 pages in a row, again and again, and the background has not brought many of them.
    assert postcopy["fault_count"] > 100, postcopy
    assert 0 < postcopy["fault_p50_us"] <= postcopy["fault_p99_us"] <= postcopy["fault_max_us"]
    assert postcopy["interruptions"] == 0
    goes_on(destination, 5)
    assert_counted_on(source, destination)
    assert_never_two(source, destination)
    with destination.api() as api:
        steps = [event["properties"]["step"] for event in kept(api) if event["event"] == "migration-step"]
        assert steps.index("starting") < steps.index("faulting") < steps.index("runs")
        # It is a machine like any other now.
        api.put("vm.pause")
        api.put("vm.resume")
    move(destination, server())


def test_the_way_out_at_the_timeout(server, disk):
    """In the middle of a round: all that has not gone is missing."""
    source, destination = server("-v"), server("-v")
    boot(source, disks=[{"path": str(disk)}])
    progress = move(source, destination, timeout_s=1, timeout_strategy="Postcopy", downtime_ms=1, **SLOWLY)
    assert progress["postcopy"]
    assert_whole(progress_of(destination))
    goes_on(destination, 3)
    assert_counted_on(source, destination)
    assert_never_two(source, destination)


def test_all_else_waits_until_the_memory_is_there(server, disk):
    source, destination = server(), server()
    boot(source, disks=[{"path": str(disk)}])
    answer = receive(destination, url_of(destination))
    with answer, source.api() as here, destination.api() as there:
        here.put("vm.send-migration", {"destination_url": url_of(destination), **POSTCOPY, "bandwidth": 256 << 10,
                                       "timeout_s": 1, "timeout_strategy": "Postcopy"})
        wait_for_step(destination, "faulting")
        assert there.get("vm.info")["state"] == "Running"
        for api in (here, there):
            assert refusal(api.put, "vm.cancel-migration").status == 409
            assert refusal(api.put, "vm.pause").status == 409
            assert api.get("vm.migration-progress")["phase"] == "memory (postcopy)"
        here.put("vm.migration-bandwidth", {"bandwidth": 0})
        assert answer.response().status == 204
        wait_for_no_vm(here)
        assert there.get("vm.info")["state"] == "Running"


def test_a_paused_vm_comes_too(server):
    source, destination = server(), server()
    boot(source)
    with source.api() as api:
        api.put("vm.pause")
    move(source, destination, **POSTCOPY)
    with destination.api() as api:
        assert api.get("vm.info")["state"] == "Paused"
        api.put("vm.resume")
    goes_on(destination)


def test_what_cannot_come_later_is_refused_before_the_pause(server):
    """Memory in huge pages; where there are none, the destination says so, and the source's guest is not touched."""
    source = server()
    boot(source)
    with source.api() as api:
        error = refusal(api.put, "vm.send-migration", {"destination_url": "unix:/x", "local": True, **POSTCOPY})
        assert error.status == 400, error.chain
        assert api.get("vm.info")["state"] == "Running"
    goes_on(source)


class Broken(Move):
    """A postcopy that is interrupted. `closed`: the source does not come through again, until somebody opens."""

    fields = {**POSTCOPY, **SLOWLY, "connections": 2}

    def __init__(self, server, disk, tmp_path, fault: Fault, closed: bool = False):
        super().__init__(server, disk, tmp_path, fault)
        if closed:
            fault.strike = lambda: setattr(self.proxy, "closed", True)


AFTER_GO = [("RUNNING", 0), ("RUNNING", None), ("PAGE_REQUEST", 0), ("PAGE_REQUEST", 10), ("PAGE_REQUEST", None)]


@pytest.mark.parametrize("frame, keep", AFTER_GO)
def test_a_broken_connection_is_mended(server, disk, tmp_path, frame, keep):
    with Broken(server, disk, tmp_path, Fault(frame, keep=keep, cut=True)) as going:
        assert going.came()
        assert going.end_at_source()["status"] == "finished"
        with going.source.api() as api:
            assert any(event["event"] == "migration-step" and event["properties"]["step"] == "paused-recoverable"
                       and event["properties"]["reason"] for event in kept(api))
            wait_for_no_vm(api)
    postcopy = assert_whole(progress_of(going.destination))
    assert postcopy["interruptions"] >= 1
    goes_on(going.destination, 5)
    assert_counted_on(going.source, going.destination)
    assert_never_two(going.source, going.destination)


def test_the_guest_stands_still_until_its_source_comes_again(server, disk, tmp_path):
    with Broken(server, disk, tmp_path, Fault("PAGE_REQUEST", keep=0, cut=True), closed=True) as going:
        stands = wait_for_step(going.destination, "paused-recoverable")
        waits = wait_for_step(going.source, "paused-recoverable")
        for progress in (stands, waits):
            assert progress["status"] == "ongoing" and progress["error"], progress
        with going.destination.api() as api:
            poll(lambda: api.get("vm.info")["state"] == "Paused", "it is not paused")
            assert refusal(api.put, "vm.resume").status == 409
        said = len(going.destination.console_text())
        time.sleep(0.3)  # a guest that ran would say a hundred rounds; nothing depends on it
        assert len(going.destination.console_text()) < said + 64  # what was on its way
        assert_locked(server, disk)
        going.proxy.closed = False
        assert going.came()
    assert_whole(progress_of(going.destination))
    goes_on(going.destination, 5)
    assert_counted_on(going.source, going.destination)
    assert_never_two(going.source, going.destination)


def test_the_source_dies_and_the_guest_is_given_up(server, disk, tmp_path):
    """The guest's only whole copy was spread over two processes; who asks for the end of one gets it, at once."""
    with Broken(server, disk, tmp_path, Fault("PAGE_REQUEST", keep=0, cut=True), closed=True) as going:
        wait_for_step(going.source, "paused-recoverable")
        kill(going.source)
        stands = wait_for_step(going.destination, "paused-recoverable")
        assert stands["error"]
        with going.destination.api() as api:
            api.put("vm.cancel-migration")
        assert going.destination.process.wait(30) == 1
        assert "the guest is lost" in going.destination.stderr()
    # Its images are free.
    other = server()
    with other.api() as api:
        api.put("vm.create", vm_config("deaf", disks=[{"path": str(disk)}]))
        api.put("vm.boot")


def test_the_destination_dies_and_the_source_does_not_run_again(server, disk, tmp_path):
    with Broken(server, disk, tmp_path, Fault("PAGE_REQUEST", keep=0, cut=True), closed=True) as going:
        wait_for_step(going.destination, "paused-recoverable")
        kill(going.destination)
        wait_for_step(going.source, "paused-recoverable")
        with going.source.api() as api:
            api.put("vm.cancel-migration")
            assert wait_for_end(api)["status"] == "handed-over-unconfirmed"
        # The record says that it has run there: what is here is of the past.
        assert going.reclaim()["status"] == "lost-to-destination"
    assert_never_two(going.source, going.destination)
