"""Disks that are on no shared storage and move along, while their guest writes and checks them. Runs on any KVM."""

import contextlib
import json
import subprocess

import pytest

from tests.guest.test_migration import (TTY, boot, goes_on, poll, receive, server, url_of, wait_for_end, wait_for_event,
                                        wait_for_no_vm)
from tests.guest.test_migration_faults import (assert_counted_on, assert_locked, assert_never_two, flip, kill, settle_kept)
from tests.support.api import refusal
from tests.support.migration_proxy import Fault, Proxy
from tests.support.serve import Server, vm_config

SIZE = 8 << 20


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def boot_writer(one: Server, disk) -> None:
    """A guest that counts in all of its disk, and panics where it reads another number than it wrote."""
    with one.api() as api:
        api.put("vm.create", vm_config("disk-dirty", **TTY, disks=[{"id": "data", "path": str(disk)}]))
        api.put("vm.boot")
    goes_on(one, 2)


class Move:
    """A VM and its disk under way through a proxy that may do harm. Of a file that the destination has, or has not yet."""

    def __init__(self, server, disk, tmp_path, fault: Fault | None = None):
        self.source, self.destination = server("-v"), server("-v")
        self.disk, self.copy = disk, tmp_path / "copy.img"
        self.fault = fault
        self.proxy = Proxy(tmp_path, f"{self.destination.folder}/migration.sock", fault, [SIZE])
        boot_writer(self.source, disk)
        self._answer = receive(self.destination, url_of(self.destination), disks=[{"id": "data", "path": str(self.copy)}])

    def __enter__(self) -> "Move":
        self.proxy.__enter__()
        return self

    def __exit__(self, *_) -> None:
        self.proxy.__exit__()
        self._answer.close()

    def begin(self, **fields) -> None:
        with self.source.api() as api:
            api.put("vm.send-migration", {"destination_url": self.proxy.url, "migrate_disks": ["data"], **fields})
        if self.fault:
            assert self.fault.struck.wait(60), self.proxy.seen

    def came(self) -> bool:
        return self._answer.response().status == 204

    def end_at_source(self) -> dict:
        with self.source.api() as api:
            return wait_for_end(api)

    def assert_source_goes_on(self) -> None:
        goes_on(self.source)
        with self.source.api() as api:
            assert api.get("vm.info")["state"] == "Running"

    def settle_kept(self, server) -> None:
        """The guest goes on at the source with its disk; nothing of it is at the destination."""
        settle_kept(self)
        assert_locked(server, self.disk)
        assert not self.copy.exists()

    def settle_moved(self, server) -> None:
        goes_on(self.destination, 3)
        assert_counted_on(self.source, self.destination)
        assert_never_two(self.source, self.destination)
        assert_locked(server, self.copy)
        with self.destination.api() as api:
            assert api.get("vm.info")["config"]["disks"][0]["path"] == str(self.copy)


@pytest.mark.parametrize("fields", [{}, {"connections": 3}, {"memory_mode": "Postcopy", "downtime_ms": 100}],
                         ids=["one", "three", "postcopy"])
def test_a_disk_moves_along(server, disk, tmp_path, fields):
    with Move(server, disk, tmp_path) as going:
        going.begin(**fields)
        assert going.came()
        progress = going.end_at_source()
        assert progress["status"] == "finished", json.dumps(progress)
        disks = progress["disk_transmission_info"]
        assert disks["disk_bytes_total"] == SIZE and disks["disk_bytes_transmitted"] > SIZE // 2, disks
        with going.source.api() as api:
            wait_for_no_vm(api)
        # What the guest writes from here on is in the copy only.
        disk.unlink()
        going.settle_moved(server)


def test_an_image_that_is_there(server, disk, tmp_path):
    """It is overwritten, if it has the size; what is in it and is nothing of the disk's goes."""
    with Move(server, disk, tmp_path) as going:
        going.copy.write_bytes(b"\xff" * SIZE)
        going.begin()
        assert going.came()
        with going.source.api() as api:
            wait_for_no_vm(api)
        going.settle_moved(server)
        with going.destination.api() as api:
            api.put("vm.pause")
        ours, theirs = disk.read_bytes(), going.copy.read_bytes()
        # Where the guest writes nothing, both are zeros.
        for place in range(0, SIZE, 32768):
            assert ours[place + 4096:place + 32768] == theirs[place + 4096:place + 32768], hex(place)


def test_there_and_back(server, disk, tmp_path):
    a, b = server("-v"), server("-v")
    boot_writer(a, disk)
    images = [disk, tmp_path / "copy.img"]
    for turn in range(4):
        answer = receive(b, url_of(b), disks=[{"id": "data", "path": str(images[1])}])
        with answer, a.api() as api:
            api.put("vm.send-migration", {"destination_url": url_of(b), "migrate_disks": ["data"]})
            assert wait_for_end(api)["status"] == "finished"
            wait_for_no_vm(api)
            assert answer.response().status == 204
        goes_on(b, 1)
        a, b = b, a
        images.reverse()
    assert_never_two(a, b)


@pytest.mark.parametrize("frame, keep", [("BLOCKS", 0), ("BLOCKS", None), ("BLOCKS", 40), ("BLOCKS", 100), ("ROUND", 0),
                                         ("STATE", 0), ("READY", 0), ("LOCKS_RELEASED", None), ("LOCKED", 0)])
def test_all_connections_are_cut(server, disk, tmp_path, frame, keep):
    with Move(server, disk, tmp_path, Fault(frame, keep=keep, cut=True)) as going:
        going.begin()
        assert not going.came()
        assert going.end_at_source()["status"] == "failed"
        going.settle_kept(server)


def test_go_is_swallowed(server, disk, tmp_path):
    """The disks are two now, and no storage is seen by both: what ran is for people to find out. Nobody runs twice."""
    with Move(server, disk, tmp_path, Fault("GO", swallow=True)) as going:
        going.begin()
        assert not going.came()
        status = going.end_at_source()["status"]
        assert status == "failed" or status in ("handed-over-unconfirmed", "failed-needs-operator")
        assert_never_two(going.source, going.destination)
        if status != "failed":
            assert_locked(server, disk)


def test_running_is_lost(server, disk, tmp_path):
    """It runs at the destination: the source neither resumes its copy nor lets anybody have it, reclaim or not."""
    with Move(server, disk, tmp_path, Fault("RUNNING", keep=0, cut=True)) as going:
        going.begin()
        assert going.came()
        assert going.end_at_source()["status"] == "handed-over-unconfirmed"
        with going.source.api() as api:
            before = len(wait_for_event(api, "migration-unconfirmed"))
            api.put("vm.reclaim-migration")
            wait_for_event(api, "migration-unconfirmed", before + 1)
            assert api.get("vm.migration-progress")["status"] == "failed-needs-operator"
        assert_locked(server, disk)
        going.settle_moved(server)


@pytest.mark.parametrize("frame", ["BLOCKS", "STATE", "READY"])
def test_the_destination_is_killed(server, disk, tmp_path, frame):
    fault = Fault(frame)
    with Move(server, disk, tmp_path, fault) as going:
        fault.strike = lambda: kill(going.destination)
        going.begin()
        assert going.end_at_source()["status"] == "failed"
        going.assert_source_goes_on()
        assert_counted_on(going.source)
        assert_never_two(going.source, going.destination)
        assert_locked(server, disk)


def test_the_source_is_killed(server, disk, tmp_path):
    fault = Fault("BLOCKS")
    with Move(server, disk, tmp_path, fault) as going:
        fault.strike = lambda: kill(going.source)
        going.begin()
        assert not going.came()
        assert not going.copy.exists()


def test_it_is_cancelled(server, disk, tmp_path):
    with Move(server, disk, tmp_path) as going:
        going.begin(bandwidth=1 << 20)
        with going.source.api() as api:
            poll(lambda: api.get("vm.migration-progress").get("disk_transmission_info", {}).get(
                "disk_bytes_remaining_iteration"), "nothing of the disk is under way")
            api.put("vm.cancel-migration")
        assert not going.came()
        assert going.end_at_source()["status"] == "cancelled"
        going.settle_kept(server)


@pytest.mark.parametrize("frame, at", [("BLOCKS", 17), ("BLOCKS", 20), ("BLOCKS", 8)])
def test_a_bit_flips(server, disk, tmp_path, frame, at):
    with Move(server, disk, tmp_path, Fault(frame, bend=flip(at))) as going:
        going.begin()
        assert not going.came()
        assert going.end_at_source()["status"] == "failed"
        going.settle_kept(server)


def test_the_file_system_is_full(server, disk, tmp_path):
    """In the middle of the image: given up, and what is there of it goes."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "small", small], capture_output=True).returncode != 0:
        pytest.skip("no right to mount here")
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", small], check=True)
        source, destination = server("-v"), server("-v")
        boot_writer(source, disk)
        with receive(destination, url_of(destination), disks=[{"id": "data", "path": str(small / "copy.img")}]) as answer:
            with source.api() as api:
                api.put("vm.send-migration", {"destination_url": url_of(destination), "migrate_disks": ["data"]})
                progress = wait_for_end(api)
            assert answer.response().status == 500
        assert progress["status"] == "failed" and "No space left" in " ".join(progress["error"]), progress
        goes_on(source)
        assert_counted_on(source)
        assert list(small.iterdir()) == []


def test_what_cannot_come_along(server, disk, tmp_path):
    source, destination = server("-v"), server("-v")
    base = tmp_path / "base.img"
    base.write_bytes(bytes(1 << 20))
    boot(source, disks=[{"id": "data", "path": str(disk)}, {"id": "base", "path": str(base), "readonly": True}])
    with source.api() as api:
        for fields, word in [({"migrate_disks": ["none"]}, "none"), ({"migrate_disks": ["base"]}, "read-only"),
                             ({"migrate_disks": ["data", "data"]}, "twice"),
                             ({"migrate_disks": ["data"], "local": True}, "local")]:
            error = refusal(api.put, "vm.send-migration", {"destination_url": "unix:/x", **fields})
            assert error.status == 400 and word in " ".join(error.chain), error.chain
    # The source's own image, one of another size, one in use, and a disk that the VM has not.
    wrong = tmp_path / "wrong.img"
    wrong.write_bytes(bytes(1 << 20))
    used = tmp_path / "used.img"
    used.write_bytes(bytes(SIZE))
    other = server()
    with other.api() as api:
        api.put("vm.create", vm_config("deaf", disks=[{"path": str(used)}]))
        api.put("vm.boot")
    for disks, word in [([], "comes along"), ([{"id": "data", "path": str(disk)}], "in use"),
                        ([{"id": "data", "path": str(wrong)}], "wrong.img"),
                        ([{"id": "data", "path": str(used)}], "in use"),
                        ([{"id": "nope", "path": "/x"}], "nope"),
                        ([{"id": "data", "path": str(tmp_path / "no" / "folder")}], "folder")]:
        with receive(destination, url_of(destination), disks=disks) as answer, source.api() as api:
            api.put("vm.send-migration", {"destination_url": url_of(destination), "migrate_disks": ["data"]})
            progress = wait_for_end(api)
            assert answer.response().status != 204
        assert progress["status"] == "failed" and word in " ".join(progress["error"]), progress
        goes_on(source)
    assert wrong.read_bytes() == bytes(1 << 20) and used.read_bytes() == bytes(SIZE)
    assert_never_two(source, destination)
