"""Each hot operation many times: alone, and on either side of migrations, which refuse it and lose nothing."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.guest.test_memory import LEAST, MIB, UNIT, threads as threads_of, told
from tests.guest.test_migration import TTY, goes_on, poll, receive, server, url_of, wait_for_end  # noqa: F401
from tests.guest.test_migration import wait_for_event, wait_for_no_vm
from tests.guest.test_migration_faults import assert_counted_on_many
from tests.support.api import Api, refusal
from tests.support.fs_daemon import FsDaemon
from tests.support.resident import resident
from tests.support.serve import Server, vm_config

ROUNDS = 50
#: Migrations, each of which refuses a share of the rounds.
MOVES = 8
#: Bytes a second: a move is at its first round for an hour, whatever a busy host takes to answer.
SLOWLY = 1 << 10
#: Bytes that a process may grow by, whatever it did: its code, too, is mapped as it is used. What a device keeps, so often, is
#: far more.
SLACK = 1 << 20


@dataclass
class Vm:
    """Where it is now."""

    server: Server
    api: Api

    def config(self) -> dict:
        return self.api.get("vm.info")["config"]

    def ids(self, kind: str) -> list[str]:
        return [device["id"] for device in self.config().get(kind) or []]


@dataclass
class Operation:
    """Two requests, of which the second takes back what the first does.

    `done`: what is so when the guest has answered the first one (True) or the second (False). `vm`: what the VM has from
    its start. `receive`: what a destination is told of the VM, for which the guest must have answered.
    """

    requests: tuple[tuple[str, dict], tuple[str, dict]]
    done: Callable[[Vm, bool], bool]
    vm: dict = field(default_factory=dict)
    receive: Callable[[bool], dict] | None = None

    def ask(self, vm: Vm, first: bool) -> None:
        vm.api.put(*self.requests[0 if first else 1])

    def carry_out(self, vm: Vm, first: bool) -> None:
        self.ask(vm, first)
        self.settle(vm, first)

    def settle(self, vm: Vm, first: bool) -> None:
        poll(lambda: self.done(vm, first), f"{self.requests[0 if first else 1]} comes to no end: {vm.config()}",
             pause=0.004)


def added(call: str, kind: str, body: dict, **fields: Any) -> Operation:
    """A device that comes and goes."""
    return Operation(((call, {"id": "hot", **body}), ("vm.remove-device", {"id": "hot"})),
                     lambda vm, first: ("hot" in vm.ids(kind)) == first, **fields)


def resized(key: str, most: int, least: int, done: Callable[[Vm, bool], bool], **fields: Any) -> Operation:
    return Operation((("vm.resize", {key: most}), ("vm.resize", {key: least})), done, **fields)


def vcpus(vm: Vm) -> int:
    return sum(name.startswith("vcpu") for name in threads_of(vm.server.pid))


@contextlib.contextmanager
def accepting(path: str):
    """A socket that lets all come, and says nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        ends: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    ends.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for end in ends:
            end.close()


def operation(name: str, folder: Path) -> Operation:
    """On files and peers in that folder, which prepared() has put there."""
    cold = {"disks": [{"id": "cold", "path": f"{folder}/cold"}]}
    cable = {"net": [{"id": "cold", "socket": f"{folder}/passt"}]}
    files = [{"id": "cold", "files": {"text": text}} for text in ("x" * MIB, "x")]
    limits = [{"id": "cold", "rate_limiter_config": {"ops": {"size": size, "refill_time": 100}}} for size in (2000, 1000)]

    def limited(vm: Vm, first: bool) -> bool:
        return vm.config()["disks"][0]["rate_limiter_config"] == limits[0 if first else 1]["rate_limiter_config"]

    def grown(vm: Vm, _: bool) -> bool:
        return True

    def has_files(vm: Vm, first: bool) -> bool:
        return (vm.api.get("vm.info")["helper_disks"][0]["size"] > MIB) == first

    def inflated(vm: Vm, first: bool) -> bool:
        return vm.api.get("vm.counters")["__balloon"]["actual_bytes"] == (MIB if first else 0)

    return {
        "disk": lambda: added("vm.add-disk", "disks", {"path": f"{folder}/hot"}),
        "net": lambda: added("vm.add-net", "net", {"socket": f"{folder}/passt"}),
        "console": lambda: added("vm.add-console", "consoles", {"mode": "Null", "ports": [{"name": "port", "mode": "Null"}]}),
        "fs": lambda: added("vm.add-fs", "fs", {"tag": "hot", "socket": f"{folder}/fs"}),
        "vsock": lambda: Operation((("vm.add-vsock", {"id": "hot", "cid": 3, "socket": f"{folder}/vsock"}),
                                    ("vm.remove-device", {"id": "hot"})),
                                   lambda vm, first: (vm.config().get("vsock") is not None) == first,
                                   receive=lambda first: {"vsock_socket": f"{folder}/moved"} if first else {}),
        "helper": lambda: Operation((("vm.update-helper", files[0]), ("vm.update-helper", files[1])), has_files,
                                    {"helper_disks": files[1:]}),
        "cpus": lambda: resized("desired_vcpus", 4, 1, lambda vm, first: vcpus(vm) == (4 if first else 1),
                                vm={"cpus": {"boot_vcpus": 1, "max_vcpus": 4}}),
        "memory": lambda: resized("desired_ram", LEAST + 2 * UNIT, LEAST, lambda vm, first: told(vm.api) == (
            LEAST + 2 * UNIT if first else LEAST), vm={"memory": {"size": LEAST, "hotplug_size": 8 * UNIT}}),
        "balloon": lambda: resized("desired_balloon", MIB, 0, inflated, vm={"balloon": {"size": 0}}),
        "resize-disk": lambda: Operation((("vm.resize-disk", {"id": "cold", "desired_size": 4 * MIB}),) * 2, grown, cold),
        "limits": lambda: Operation((("vm.set-limits", limits[0]), ("vm.set-limits", limits[1])), limited, cold),
        "link": lambda: Operation((("vm.set-link", {"id": "cold", "up": False}), ("vm.set-link", {"id": "cold", "up": True})),
                                  grown, cable),
    }[name]()


NAMES = ["disk", "net", "console", "fs", "vsock", "helper", "cpus", "memory", "balloon", "resize-disk", "limits", "link"]


@pytest.fixture
def prepared(tmp_path):
    for name in ("cold", "hot"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(4 * MIB)
    with accepting(f"{tmp_path}/passt"), FsDaemon(tmp_path / "fs"):
        yield tmp_path


def held(one: Server) -> Counter[str]:
    """What the process has, but for memory."""
    names = [*(name.split(":")[0] for name in one.fds()), *(f"thread {name}" for name in threads_of(one.pid))]
    return Counter(names) + Counter({"maps": Path(f"/proc/{one.pid}/maps").read_text().count("hako-ram")})


def assert_no_more(one: Server, before: Counter[str]) -> None:
    """What ends, ends a moment after the answer: files that io_uring still had, connections whose client is gone. For the
    same reason there may have been more before."""
    with contextlib.suppress(AssertionError):
        poll(lambda: not held(one) - before, "")
    assert not held(one) - before


def boot(one: Server, fields: dict) -> None:
    with one.api() as api:
        api.put("vm.create", vm_config("hot", **TTY, **fields))
        api.put("vm.boot")
    goes_on(one, 1)


@pytest.mark.parametrize("name", NAMES)
def test_again_and_again(server, prepared, name):  # noqa: F811
    wanted = operation(name, prepared)
    one = server()
    boot(one, wanted.vm)
    with one.api() as api:
        vm = Vm(one, api)

        def both() -> None:
            wanted.carry_out(vm, True)
            wanted.carry_out(vm, False)

        for _ in range(5):
            both()
        config, before, memory = vm.config(), held(one), resident(one.pid).other
        for _ in range(ROUNDS):
            both()
        assert vm.config() == config
        assert_no_more(one, before)
        assert resident(one.pid).other < memory + SLACK
    goes_on(one)


class Moving:
    """A VM on its way from one server to another, slowly, until it is let go."""

    def __init__(self, source: Server, destination: Server, fields: dict):
        """`fields`: of vm.receive-migration."""
        self.source, self.destination = source, destination
        self.answer = receive(destination, url_of(destination), **fields)
        with source.api() as api:
            api.put("vm.send-migration", {"destination_url": url_of(destination), "bandwidth": SLOWLY})

    def refuses(self, wanted: Operation, rounds: int) -> None:
        """On both sides, with a reason, and nothing changes by it."""
        with self.source.api() as here, self.destination.api() as there:
            before = here.get("vm.info")["config"]
            for number in range(rounds):
                if number == 1:  # from here on the destination has a VM
                    poll(lambda: here.get("vm.migration-progress")["step"] == "precopy", "no pages are sent")
                # Where the VM is still to come there is none, or one that nobody may touch.
                for api, statuses in ((here, (409,)), (there, (404, 409))):
                    for request in wanted.requests:
                        error = refusal(api.put, *request)
                        assert error.status in statuses and len(error.chain) > 1 and all(error.chain), error
            assert here.get("vm.migration-progress")["status"] == "ongoing"
            assert here.get("vm.info")["config"] == before

    def end(self, cancelled: bool) -> Server:
        """Where the VM is then."""
        with self.answer, self.source.api() as api:
            api.put("vm.cancel-migration") if cancelled else api.put("vm.migration-bandwidth", {"bandwidth": 0})
            assert wait_for_end(api)["status"] == ("cancelled" if cancelled else "finished")
            assert self.answer.response().status == (500 if cancelled else 204)
            if not cancelled:
                wait_for_no_vm(api)
            else:
                # The job that held the VM ends after the migration does.
                wait_for_event(api, "migration-failed")
        return self.source if cancelled else self.destination


@pytest.mark.parametrize("name", NAMES)
def test_while_the_vm_moves(server, prepared, name):  # noqa: F811
    """Whatever was asked for before a move, the guest may answer during it: it counts, on the side that runs then."""
    wanted = operation(name, prepared)
    servers = [server(), server()]
    boot(servers[0], wanted.vm)
    here = servers[0]
    for turn in range(MOVES):
        first, cancelled = turn % 2 == 0, turn % 4 < 2
        with here.api() as api:
            wanted.ask(Vm(here, api), first)
            if wanted.receive:
                wanted.settle(Vm(here, api), first)
        moving = Moving(here, servers[1 - servers.index(here)], wanted.receive(first) if wanted.receive else {})
        moving.refuses(wanted, ROUNDS // MOVES + 1)
        here = moving.end(cancelled)
        with here.api() as api:
            vm = Vm(here, api)
            wanted.settle(vm, first)
            wanted.carry_out(vm, not first)
            wanted.carry_out(vm, first)
        goes_on(here, 1)
        if turn == MOVES // 2 - 1:  # it is where it began, and has been at the other
            before = [(held(one), resident(one.pid).other) for one in servers]
    for one, (things, memory) in zip(servers, before):
        assert_no_more(one, things)
        assert resident(one.pid).other < memory + SLACK
    assert_counted_on_many(*servers)
