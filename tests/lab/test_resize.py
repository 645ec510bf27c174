"""CPUs and memory that come and go while a stock Debian guest works."""

import itertools
import os
import select
import time
from pathlib import Path

from tests.lab.conftest import assert_passed
from tests.support.api import Api, ApiError
from tests.support.resident import resident

SOCKET = Path("/run/hako-api.sock")

#: cpus N: waits until N CPUs are there, and puts those to work that the kernel did not (no udev runs here).
#: A line on the console asks for what to wait for next.
SCRIPT = r"""
(until [ -e /run/stop ]; do
    nice md5sum /usr/bin/perl >/dev/null || echo LOAD FAILED
    sleep 0.2
done) & load=$!
cpus() {
    until set -- $1 /sys/devices/system/cpu/cpu[0-9]* && [ $# = $(($1 + 1)) ]; do sleep 0.02; done
    for cpu in /sys/devices/system/cpu/cpu[1-9]*; do
        [ -e $cpu ] || continue
        read -r online <$cpu/online 2>/dev/null && [ $online = 1 ] || echo 1 >$cpu/online
    done
    read -r online </sys/devices/system/cpu/online
    echo "CPUS $online at $turn."
}
# memory N: waits until there are N blocks of 128 MiB, online: those that come may go again.
echo online_movable >/sys/devices/system/memory/auto_online_blocks
memory() {
    until set -- $1 /sys/devices/system/memory/memory[0-9]* && [ $# = $(($1 + 1)) ]; do sleep 0.02; done
    for block in /sys/devices/system/memory/memory[0-9]*; do
        until read -r online <$block/online && [ $online = 1 ]; do sleep 0.02; done
    done
    read -r _ total _ </proc/meminfo
    echo "MEMORY $total at $turn."
}
# use N: N MiB that the new memory is needed for.
pattern() { head -c $1M /dev/zero | tr '\0' x; }
use() { mkdir -p /run/big && mount -t tmpfs -o size=2G big /run/big && pattern $1 >/run/big/file && echo "USED at $turn."; }
check() { pattern $1 | cmp - /run/big/file && umount /run/big && echo "GOOD at $turn."; }
echo READY
while read -r what number turn; do
    [ $what = end ] && break
    $what $number
done
touch /run/stop
wait $load
dmesg --level=emerg,alert,crit,err | grep . && exit 30
exit 0
"""


def resources(pid: int) -> dict[str, object]:
    threads = []
    for comm in Path(f"/proc/{pid}/task").glob("*/comm"):
        try:
            threads.append(comm.read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {"fds": len(os.listdir(f"/proc/{pid}/fd")), "vcpus": sorted(name for name in threads if name.startswith("vcpu")),
            "maps": sum("hako-ram" in line or "kvm-vcpu" in line for line in maps)}


def vcpus(pid: int, count: int, timeout: float = 30) -> list[str]:
    """The vCPU threads, once there are so many."""
    deadline = time.monotonic() + timeout
    while len(names := resources(pid)["vcpus"]) != count and time.monotonic() < deadline:
        select.select([], [], [], 0.02)
    return names


def resize(api: Api, timeout: float = 30, **wanted: int) -> None:
    """Again as long as what went before is not done."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return api.put("vm.resize", wanted)
        except ApiError as error:
            if error.status != 429 or time.monotonic() > deadline:
                raise
            assert "Too Many Requests" in error.chain
            select.select([], [], [], 0.02)


def test_cpus_come_and_go_under_load_50_times_and_leave_nothing(quick):
    with quick(SCRIPT, "--cpus", "1,max=4", "--api-socket", SOCKET, timeout=240) as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            turns = itertools.count()

            def cpus(count: int) -> None:
                turn = next(turns)
                resize(api, desired_vcpus=count)
                assert api.get("vm.info")["config"]["cpus"]["boot_vcpus"] == count
                machine.type(f"cpus {count} {turn}\n")
                machine.wait_for(f"CPUS {'0' if count == 1 else f'0-{count - 1}'} at {turn}.")
                assert vcpus(machine.pid, count) == [f"vcpu{i}" for i in range(count)]

            cpus(1)
            cpus(4)
            before = resources(machine.pid)
            for _ in range(25):
                cpus(2)
                cpus(4)
            assert resources(machine.pid) == before
            cpus(2)
            machine.type("end\n")
        outcome = machine.wait()
    assert_passed(outcome)
    assert "LOAD FAILED" not in outcome.console


def test_memory_grows_and_shrinks_under_load_and_the_host_gets_it_back(quick):
    with quick(SCRIPT, "--cpus", 2, "--api-socket", SOCKET, timeout=400, memory="512M,hotplug=2G") as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            turns = itertools.count()

            def ask(what: str, number: int, answer: str) -> str:
                turn = next(turns)
                machine.type(f"{what} {number} {turn}\n")
                return machine.wait_for(f" at {turn}.").rsplit(answer, 1)[1]

            def told(wanted: int) -> None:
                for _ in range(6):
                    deadline = time.monotonic() + 10
                    while (info := api.get("vm.info"))["memory_actual_size"] != wanted and time.monotonic() < deadline:
                        select.select([], [], [], 0.05)
                    if info["memory_actual_size"] == wanted:
                        break
                    # What the guest could not let go of at once.
                    resize(api, desired_ram=wanted)
                assert info["memory_actual_size"] == info["config"]["memory"]["size"] == wanted

            def memory(wanted: int) -> None:
                resize(api, desired_ram=wanted)
                told(wanted)
                total = int(ask("memory", wanted >> 27, "MEMORY ")) << 10
                assert wanted - (160 << 20) < total <= wanted, (wanted, total)

            before = resources(machine.pid)
            memory(2 << 30)
            ask("use", 400, "USED")
            assert resident(machine.pid).guest > 400 << 20
            memory(1 << 30)  # what is in use moves out of what goes
            ask("check", 400, "GOOD")
            assert resident(machine.pid).guest < 1 << 30
            for _ in range(10):
                memory(2 << 30)
                memory(1 << 30)
            memory(512 << 20)
            assert resident(machine.pid).guest < 512 << 20
            assert resources(machine.pid) == before
            machine.type("end\n")
        outcome = machine.wait()
    assert_passed(outcome)
    assert "LOAD FAILED" not in outcome.console
