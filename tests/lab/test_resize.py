"""CPUs that come and go while a stock Debian guest works."""

import itertools
import os
import select
import time
from pathlib import Path

from tests.lab.conftest import assert_passed
from tests.support.api import Api, ApiError

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
