"""The same guest under hako and under QEMU, moved from one process to another, for tools/bench-migrate."""

import json
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.guest.test_migration import poll, receive
from tests.support.api import ApiError
from tests.support.console import Console
from tests.support.hako import GUEST
from tests.support.serve import Server, vm_config

DOWNTIME_MS = 300
MIB = 1 << 20


class Heart(Console):
    """A console on which the guest's heart beats, in dots. They are no text; when each piece came is noted."""

    def __init__(self, process: subprocess.Popen):
        self._pieces: list[tuple[float, bytes]] = []
        super().__init__(process)

    def _take(self, when: float, data: bytes) -> None:
        self._pieces.append((when, data))
        super()._take(when, data.replace(b".", b""))

    def type(self, text: str) -> None:
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def wait_for_beats(self, count: int, timeout: float = 120) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: sum(data.count(b".") for _, data in self._pieces) >= count,
                                          timeout), "the guest's heart stands still"

    def beats(self, since: float = 0, until: float = float("inf")) -> list[tuple[float, int]]:
        """When beats came, and how many."""
        with self._changed:
            return [(when, data.count(b".")) for when, data in self._pieces if b"." in data and since <= when < until]


@dataclass(frozen=True)
class Postcopy:
    """What is dirty after the first round comes when the guest runs. `background`: bytes/s of what it does not ask for;
    0: no limit."""

    background: int = 0


@dataclass
class Waits:
    """Of those who touched a page that was not there yet."""

    count: int
    p50_us: float
    p99_us: float

    @classmethod
    def of_buckets(cls, counts: list[int]) -> "Waits":
        """Bucket N counts what took from 2^N to 2^(N+1) microseconds, whose middle it is taken for."""

        def percentile(part: float) -> float:
            seen = 0
            for number, count in enumerate(counts):
                seen += count
                if count and seen >= part * sum(counts):
                    return 1.5 * 2**number
            return float("nan")

        return cls(sum(counts), percentile(0.5), percentile(0.99))


@dataclass
class Outcome:
    """Of one move, as the program that moved reports it."""

    downtime_ms: float
    sent: int  # bytes
    waits: Waits | None = None


class Hako:
    """`local`: memory is handed over as descriptors."""

    name = "hako"
    arguments: list[str] = []  # of hako serve

    def __init__(self, stack: ExitStack, folder: Path, mib: int, waits: bool, local: bool = False):
        self._server = stack.enter_context(Server(folder, *self.arguments, typing=True, console=Heart))
        self._url = f"unix:{folder}/migration.sock"
        self._local = local
        if not waits:
            with self._server.api() as api:
                api.put("vm.create", vm_config("touch", memory={"size": mib * MIB}, serial={"mode": "Tty"}))
                api.put("vm.boot")
        self.console = self._server.console

    def move(self, destination: "Hako", connections: int, downtime_ms: int, postcopy: Postcopy | None) -> Outcome:
        answer = receive(destination._server, destination._url)
        with answer, self._server.api(timeout=600) as api:
            api.put("vm.send-migration", {"destination_url": destination._url, "connections": connections,
                                          "downtime_ms": downtime_ms, **({"local": True} if self._local else {}),
                                          **({"memory_mode": "Postcopy"} if postcopy else {})})
            if postcopy and postcopy.background:
                poll(lambda: api.get("vm.migration-progress")["step"] in ("serving", "handed-over"),
                     "the guest is not handed over", pause=0.001)
                with suppress(ApiError):  # all has gone without a limit already
                    api.put("vm.migration-bandwidth", {"bandwidth": postcopy.background})
            progress = poll(lambda: (now := api.get("vm.migration-progress"))["status"] != "ongoing" and now, "no end")
            if progress["status"] != "finished":
                raise SystemExit(f"tools/bench-migrate: hako: {progress['error']}")
            answer.response()
        waits = None
        if postcopy:
            with destination._server.api() as api:
                faults = api.get("vm.migration-progress")["postcopy"]
                waits = Waits(faults["fault_count"], faults["fault_p50_us"], faults["fault_p99_us"])
        memory = progress["memory_transmission_info"]
        return Outcome(progress["downtime_us"] / 1000, memory["memory_bytes_transmitted"], waits)


class Qemu:
    """QEMU with its machine protocol on a socket."""

    name = "QEMU"
    program: list[str] = []

    def __init__(self, stack: ExitStack, folder: Path, mib: int, waits: bool):
        self._path = f"{folder}/migration.sock"
        command = [*self.program, "-accel", "kvm", "-cpu", "host", "-machine", "pc", "-nodefaults", "-display", "none", "-m", str(mib),
                   "-no-reboot", "-serial", "stdio", "-qmp", f"unix:{folder}/qmp,server=on,wait=off", "-kernel", str(GUEST),
                   "-append", "test=touch", *(["-incoming", "defer"] if waits else [])]
        process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stack.callback(process.kill)
        self.console = Heart(process)
        self._qmp = socket.socket(socket.AF_UNIX)
        stack.enter_context(self._qmp)
        poll(lambda: self._qmp.connect_ex(f"{folder}/qmp") == 0, "QEMU does not listen")
        self._lines = self._qmp.makefile("rb")
        json.loads(self._lines.readline())
        self._ask("qmp_capabilities")

    def _ask(self, command: str, **arguments: Any) -> Any:
        request = {"execute": command, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
        self._qmp.sendall(json.dumps(request).encode())
        while "return" not in (answer := json.loads(self._lines.readline())):
            if "error" in answer:
                raise SystemExit(f"tools/bench-migrate: QEMU: {command}: {answer['error']['desc']}")
        return answer["return"]

    def _set_up(self, connections: int, postcopy: Postcopy | None) -> None:
        """One connection carries all, as QEMU does it by default; more are its multifd. Postcopy has one more for what is
        asked for."""
        if postcopy:
            self._ask("migrate-set-capabilities", capabilities=[
                {"capability": name, "state": True}
                for name in ("postcopy-ram", "postcopy-preempt", "postcopy-blocktime", "return-path")])
            self._ask("migrate-set-parameters", max_postcopy_bandwidth=postcopy.background)
        elif connections > 1:
            self._ask("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}])
            self._ask("migrate-set-parameters", multifd_channels=connections)

    def move(self, destination: "Qemu", connections: int, downtime_ms: int, postcopy: Postcopy | None) -> Outcome:
        destination._set_up(connections, postcopy)
        destination._ask("migrate-incoming", uri=f"unix:{destination._path}")
        self._set_up(connections, postcopy)
        self._ask("migrate-set-parameters", max_bandwidth=0, downtime_limit=downtime_ms)
        self._ask("migrate", uri=f"unix:{destination._path}")

        def end() -> dict | None:
            info = self._ask("query-migrate")
            return info if info["status"] in ("completed", "failed", "cancelled") else None

        if postcopy:  # after the first round, as hako does it
            poll(lambda: self._ask("query-migrate").get("ram", {}).get("dirty-sync-count", 0) > 1, "no second round")
            self._ask("migrate-start-postcopy")
        info = poll(end, "no end")
        if info["status"] != "completed":
            raise SystemExit(f"tools/bench-migrate: QEMU: {info}")
        waits = Waits.of_buckets(destination._ask("query-migrate").get("postcopy-latency-dist", [])) if postcopy else None
        return Outcome(info["downtime"], info["ram"]["transferred"], waits)
