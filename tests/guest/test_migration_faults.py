"""Whole machines that move while something breaks: afterwards exactly one runs the guest, with its data, and says why.

Two witnesses that never two ran: each process tells when its vCPUs start and stand still, on a clock that both share, and
the guest counts rounds on its console, of which none is said twice and none is missing. Runs on any KVM.
"""

import contextlib
import os
import re
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.contract.test_events import kept
from tests.guest.test_migration import (TTY, boot, disk, goes_on, move, poll, receive, server, url_of, wait_for_end,
                                        wait_for_event, wait_for_no_vm)
from tests.support.api import refusal
from tests.support.migration_proxy import FROM_DESTINATION, FROM_SOURCE, Fault, Proxy
from tests.support.serve import Server, vm_config

FRAMES = FROM_SOURCE + FROM_DESTINATION
#: How often a VM is moved where it is moved often.
MOVES = int(os.environ.get("HAKO_MOVES", "20"))
MOMENT = re.compile(r"vCPUs (start|stand still) at (\d+)\.(\d+)")
ROUND = re.compile(r"round (?:0x)?([0-9a-f]+)\n")


def spans(one: Server, ended: int) -> list[tuple[int, int]]:
    """When vCPUs may have run in that process, in nanoseconds; one that was killed ran until `ended` at most."""
    moments = [(what, int(seconds) * 10**9 + int(rest)) for what, seconds, rest in MOMENT.findall(one.stderr())]
    starts = [when for what, when in moments if what == "start"]
    stops = [when for what, when in moments if what != "start"]
    return [(start, min([stop for stop in stops if stop >= start], default=ended)) for start in starts]


def assert_never_two(*servers: Server) -> None:
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    all_spans = sorted((span, number) for number, one in enumerate(servers) for span in spans(one, ended_at(one, now)))
    assert all_spans, "nobody said when it ran"
    for (before, first), (after, second) in zip(all_spans, all_spans[1:]):
        assert first == second or before[1] <= after[0], all_spans


def ended_at(one: Server, now: int) -> int:
    return getattr(one, "killed_at", now)


def kill(one: Server) -> None:
    one.process.kill()
    one.process.wait()
    one.killed_at = time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def rounds(one: Server) -> list[int]:
    return [int(number, 16) for number in ROUND.findall(one.console_text().replace("\r", ""))]


def assert_counted_on(first: Server, second: Server | None = None, lost: bool = False) -> None:
    """No round is said twice; none is missing, unless what a killed process had still to say is (`lost`)."""
    said = rounds(first) + (rounds(second) if second else [])
    assert said == sorted(set(said)), said
    if not lost:
        # The line that was under way when it moved has its halves on both consoles.
        assert len(said) >= said[-1] - said[0], said


class Move:
    """A VM under way from `source` to `destination` through a proxy that may do harm."""

    #: Of vm.send-migration, beside the URL.
    fields: dict = {}

    def __init__(self, server, disk, tmp_path, fault: Fault):
        self.source, self.destination = server("-v"), server("-v")
        boot(self.source, disks=[{"path": str(disk)}])
        self._answer = receive(self.destination, url_of(self.destination))
        self.proxy = Proxy(tmp_path, f"{self.destination.folder}/migration.sock", fault)
        self.fault = fault

    def __enter__(self) -> "Move":
        self.proxy.__enter__()
        with self.source.api() as api:
            api.put("vm.send-migration", {"destination_url": self.proxy.url, **self.fields})
        assert self.fault.struck.wait(60), self.proxy.seen
        return self

    def __exit__(self, *_) -> None:
        self.proxy.__exit__()
        self._answer.close()

    def came(self) -> bool:
        """Whether the VM is at the destination, once that is decided there."""
        return self._answer.response().status == 204

    def end_at_source(self) -> dict:
        with self.source.api() as api:
            return wait_for_end(api)

    def reclaim(self) -> dict:
        """Asks the source to take its guest back, and gives the verdict."""
        verdicts = ("migration-failed", "migration-unconfirmed", "migration-finished")
        with self.source.api() as api:
            before = sum(event["event"] in verdicts for event in kept(api))
            assert refusal(api.put, "vm.resume").status == 409
            api.put("vm.reclaim-migration")
            poll(lambda: sum(event["event"] in verdicts for event in kept(api)) > before, "no verdict")
            return api.get("vm.migration-progress")

    def assert_source_goes_on(self) -> None:
        """And has its images, and moves later."""
        goes_on(self.source)
        with self.source.api() as api:
            assert api.get("vm.info")["state"] == "Running"
            error = api.get("vm.migration-progress")["error"]
            assert len(error) > 1, error


def assert_locked(server, disk) -> None:
    other = server()
    with other.api() as api:
        api.put("vm.create", vm_config("deaf", disks=[{"path": str(disk)}]))
        assert "in use" in " ".join(refusal(api.put, "vm.boot").chain)


def settle(going: Move) -> bool:
    """After a cut: finds out who runs the guest, and that it is one. False: nobody does any more."""
    came = going.came()
    progress = going.end_at_source()
    unconfirmed = progress["status"] == "handed-over-unconfirmed"
    if unconfirmed:
        progress = going.reclaim()
    if not came:
        assert progress["status"] == "failed", progress
        settle_kept(going)
        return True
    goes_on(going.destination)
    assert_counted_on(going.source, going.destination)
    if unconfirmed:
        # It cannot have the images' locks, and does not run without; once they are free, the record tells.
        assert progress["status"] == "failed-needs-operator", progress
        assert_never_two(going.source, going.destination)
        kill(going.destination)
        assert going.reclaim()["status"] == "lost-to-destination"
    with going.source.api() as api:
        wait_for_no_vm(api)
    assert_never_two(going.source, going.destination)
    return not unconfirmed


#: The unit tests have all of them; those between ACCEPT and JOINED keep a destination waiting.
CUTS = [(frame, 0) for frame in FRAMES] + [(frame, None) for frame in FRAMES if frame not in ("ACCEPT", "JOIN")] + [
    (frame, 20) for frame in ("STATE", "PAGES", "GO", "RUNNING")]


@pytest.mark.parametrize("frame, keep", CUTS)
def test_all_connections_are_cut(server, disk, tmp_path, frame, keep):
    """Before the frame, after it, or when 20 bytes of it are through."""
    with Move(server, disk, tmp_path, Fault(frame, keep=keep, cut=True)) as going:
        if frame == "HELLO" and keep is not None:
            # No source came: the destination goes on listening.
            going.end_at_source()
            with going.destination.api() as api:
                api.put("vm.cancel-migration")
        if settle(going):
            assert_locked(server, disk)


@pytest.mark.parametrize("frame", FRAMES)
def test_the_destination_is_killed(server, disk, tmp_path, frame):
    """At each frame, from either side: it dies before the frame is passed on."""
    fault = Fault(frame)
    with contextlib.ExitStack() as stack:
        going = Move(server, disk, tmp_path, fault)
        fault.strike = lambda: kill(going.destination)
        stack.enter_context(going)
        progress = going.end_at_source()
        if progress["status"] == "handed-over-unconfirmed":
            # GO was sent. That it has not run, the record says.
            progress = going.reclaim()
        assert progress["status"] == ("finished" if frame == "RUNNING" else "failed"), progress
        assert_never_two(going.source, going.destination)
        if frame == "RUNNING":
            with going.source.api() as api:
                return wait_for_no_vm(api)
        going.assert_source_goes_on()
        assert_counted_on(going.source)
        assert_locked(server, disk)
        move(going.source, server())


@pytest.mark.parametrize("frame", FRAMES)
def test_the_source_is_killed(server, disk, tmp_path, frame):
    fault = Fault(frame)
    with contextlib.ExitStack() as stack:
        going = Move(server, disk, tmp_path, fault)
        fault.strike = lambda: kill(going.source)
        stack.enter_context(going)
        came = going.came()
        # What GO's sender had handed to the kernel counts, and comes through.
        assert came == (frame in ("GO", "RUNNING"))
        assert_never_two(going.source, going.destination)
        if came:
            goes_on(going.destination)
            assert_counted_on(going.source, going.destination, lost=True)
            return assert_locked(server, disk)
        with going.destination.api() as api:
            assert refusal(api.get, "vm.info").status == 404
            # The images are free, and so is the process.
            api.put("vm.create", vm_config("deaf", disks=[{"path": str(disk)}]))
            api.put("vm.boot")


def stop(one: Server) -> None:
    """Returns when none of its threads runs any more."""
    os.kill(one.pid, signal.SIGSTOP)

    def stopped() -> bool:
        stats = [task / "stat" for task in Path(f"/proc/{one.pid}/task").iterdir()]
        return all(stat.read_text().rsplit(")", 1)[1].split()[0] == "T" for stat in stats)

    poll(stopped, "it does not stop")


def go_on(one: Server) -> None:
    os.kill(one.pid, signal.SIGCONT)


def test_the_destination_stands_still_without_the_locks(server, disk, tmp_path):
    fault = Fault("LOCKS_RELEASED")
    going = Move(server, disk, tmp_path, fault)
    fault.strike = lambda: stop(going.destination)
    with going:
        assert going.end_at_source()["status"] == "failed"
        going.assert_source_goes_on()
        go_on(going.destination)
        assert not going.came()
        settle_kept(going)
    assert_locked(server, disk)


def test_the_destination_stands_still_with_the_locks(server, disk, tmp_path):
    """The source cannot have them back, so it does not run; once they are free it may be told to."""
    fault = Fault("LOCKED", keep=0, cut=True)
    going = Move(server, disk, tmp_path, fault)
    fault.strike = lambda: stop(going.destination)
    with going:
        assert going.end_at_source()["status"] == "failed-needs-operator"
        assert_locked(server, disk)
        go_on(going.destination)
        assert not going.came()
        going.reclaim()
        settle_kept(going)
    assert_locked(server, disk)


def test_the_source_stands_still_before_it_commits(server, disk, tmp_path):
    """The destination holds the locks, hears nothing, and gives them up."""
    fault = Fault("LOCKED")
    going = Move(server, disk, tmp_path, fault)
    fault.strike = lambda: stop(going.source)
    with going:
        assert not going.came()
        go_on(going.source)
        assert going.end_at_source()["status"] in ("failed", "handed-over-unconfirmed")
        if going.end_at_source()["status"] == "handed-over-unconfirmed":
            going.reclaim()
        settle_kept(going)
    assert_locked(server, disk)


def test_the_source_stands_still_after_it_committed(server, disk, tmp_path):
    fault = Fault("GO")
    going = Move(server, disk, tmp_path, fault)
    fault.strike = lambda: stop(going.source)
    with going:
        assert going.came()
        goes_on(going.destination)
        go_on(going.source)
        assert going.end_at_source()["status"] == "finished"
        assert_never_two(going.source, going.destination)
        assert_counted_on(going.source, going.destination)


def test_go_is_swallowed(server, disk, tmp_path):
    """It was handed to the kernel, so the source waits for an operator; the destination gives up, and the record tells."""
    with Move(server, disk, tmp_path, Fault("GO", swallow=True)) as going:
        assert not going.came()
        assert going.end_at_source()["status"] in ("failed", "handed-over-unconfirmed")
        if going.end_at_source()["status"] == "handed-over-unconfirmed":
            going.reclaim()
        settle_kept(going)
    assert_locked(server, disk)


def settle_kept(going: Move) -> None:
    going.assert_source_goes_on()
    assert_counted_on(going.source)
    assert_never_two(going.source, going.destination)
    with going.destination.api() as api:
        assert refusal(api.get, "vm.info").status == 404


def flip(at: int):
    def bend(data: bytes) -> bytes:
        place = at if at >= 0 else len(data) + at
        return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1:]
    return bend


@pytest.mark.parametrize("frame, at", [("HELLO", 20), ("HELLO", 4), ("PAGES", 17), ("ROUND", 16), ("STATE", 5000),
                                       ("STATE", 8), ("LOCKS_RELEASED", 12), ("ACCEPT", -1), ("READY", -1)])
def test_a_bit_flips(server, disk, tmp_path, frame, at):
    with Move(server, disk, tmp_path, Fault(frame, bend=flip(at))) as going:
        progress = going.end_at_source()
        assert progress["status"] == "failed", progress
        with going.destination.api() as api:
            if api.get("vm.migration-progress")["status"] == "ongoing":
                api.put("vm.cancel-migration")
        assert not going.came()
        settle_kept(going)
    assert_locked(server, disk)


def test_strangers_end_nothing(server, disk, tmp_path):
    """Garbage, and a stream that was sent before, come to a destination that waits; the VM comes all the same."""
    source, destination = server("-v"), server("-v")
    boot(source, disks=[{"path": str(disk)}])
    with receive(destination, url_of(destination)) as answer:
        for junk in [b"", b"x", os.urandom(4096), b"HKMG" + bytes(4096), b"HKMG\1\0\0\0\xff\xff\xff\xff" + bytes(100)]:
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(f"{destination.folder}/migration.sock")
                with contextlib.suppress(OSError):
                    stranger.sendall(junk)
        with source.api() as api:
            api.put("vm.send-migration", {"destination_url": url_of(destination)})
            assert wait_for_end(api)["status"] == "finished"
        assert answer.response().status == 204
    goes_on(destination)
    assert_never_two(source, destination)


def attempt(source: Server, destination: Server) -> list[str]:
    """Why a migration was refused; the guest went on meanwhile."""
    answer = receive(destination, url_of(destination))
    with answer, source.api() as api:
        api.put("vm.send-migration", {"destination_url": url_of(destination)})
        progress = wait_for_end(api)
        assert answer.response().status == 500
    assert progress["status"] == "failed"
    assert not any(step["step"] == "pausing" for step in progress["steps"]), "the guest was paused"
    goes_on(source)
    return progress["error"]


def test_what_the_destination_lacks_is_named_before_the_pause(server, disk):
    source, destination = server("-v"), server("-v")
    boot(source, disks=[{"path": str(disk)}])
    away = disk.with_name("away.img")
    disk.rename(away)
    assert str(disk) in " ".join(attempt(source, destination))
    away.rename(disk)
    move(source, destination)
    goes_on(destination)


def test_a_network_that_the_destination_lacks(server, tmp_path):
    """A tap that came as a descriptor and needs another; a socket on which nobody listens any more."""
    source, destination = server("-v"), server("-v")
    tap, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = str(tmp_path / "passt")
    listener = socket.socket(socket.AF_UNIX)
    with tap, ours, listener:
        listener.bind(path)
        listener.listen()
        boot(source)
        with source.api() as api:
            api.put("vm.add-net", {"id": "lan"}, fds=[tap.fileno()])
        assert "net_fds: network interface lan" in " ".join(attempt(source, destination))
        with source.api() as api:
            api.put("vm.remove-device", {"id": "lan", "force": True})
            api.put("vm.add-net", {"id": "wan", "socket": path})
        os.rename(path, path + ".away")
        assert path in " ".join(attempt(source, destination))
        os.rename(path + ".away", path)
        move(source, destination)
    goes_on(destination)


def test_an_image_that_is_not_the_sources(server, disk, tmp_path):
    """Its storage has no record of the VM, which the source has written beside its own image."""
    record = disk.with_name(disk.name + ".hako-epoch")
    with Move(server, disk, tmp_path, Fault("HELLO", strike=lambda: record.rename(tmp_path / "elsewhere"))) as going:
        progress = going.end_at_source()
        assert progress["status"] == "failed" and str(disk) in " ".join(progress["error"]), progress
        assert not any(step["step"] == "pausing" for step in progress["steps"]), "the guest was paused"
        assert not going.came()
        settle_kept(going)


def test_a_destination_without_enough_memory(server):
    source, destination = server("-v"), server("-v")
    with source.api() as api:
        api.put("vm.create", vm_config("dirty", **TTY) | {"memory": {"size": 4 << 30}})
        api.put("vm.boot")
    resource.prlimit(destination.pid, resource.RLIMIT_AS, (2 << 30, 2 << 30))
    assert "memory" in " ".join(attempt(source, destination))
    move(source, server())


def test_a_migration_at_a_time(server, disk, tmp_path):
    source, destination = server("-v"), server("-v")
    boot(source, disks=[{"path": str(disk)}])
    with receive(destination, url_of(destination)) as answer, source.api() as api:
        # The address is taken.
        third = server()
        with third.api() as other:
            error = refusal(other.put, "vm.receive-migration", {"receiver_url": url_of(destination)})
            assert url_of(destination).removeprefix("unix:") in " ".join(error.chain)
        # It is a source, and takes none.
        assert refusal(api.put, "vm.receive-migration", {"receiver_url": f"unix:{tmp_path}/own"}).status == 500
        api.put("vm.send-migration", {"destination_url": url_of(destination), "bandwidth": 1 << 20})
        wait_for_event(api, "migration-step", 3)
        for call, body in [("vm.send-migration", {"destination_url": url_of(third)}),
                           ("vm.add-disk", {"path": str(disk)}), ("vm.pause", None), ("vm.shutdown", None),
                           ("vm.reboot", None), ("vm.delete", None)]:
            assert refusal(api.put, call, body).status == 409, call
        api.put("vm.migration-bandwidth", {"bandwidth": 0})
        assert wait_for_end(api)["status"] == "finished"
        assert answer.response().status == 204
    goes_on(destination)
    assert_never_two(source, destination)


def test_nothing_is_left_after_many_moves(server, disk):
    """Descriptors and threads of a process are after all moves what they were after two."""
    a, b = server("-v"), server("-v")
    boot(a, disks=[{"path": str(disk)}])

    def threads(one: Server) -> list[str]:
        return os.listdir(f"/proc/{one.pid}/task")

    def there_and_back() -> tuple:
        move(a, b)
        move(b, a)
        goes_on(a, 1)
        return [[name for name in one.fds() if "socket" not in name] for one in (a, b)], len(threads(a)), len(threads(b))

    there_and_back()
    before = there_and_back()
    for _ in range(MOVES // 2 - 2):
        after = there_and_back()
    assert after == before
    assert_never_two(a, b)
    assert_counted_on_many(a, b)


def assert_counted_on_many(*servers: Server) -> None:
    said = sorted(number for one in servers for number in rounds(one))
    assert said == sorted(set(said))
