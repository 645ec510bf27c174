"""Memory that stock Debian guests plug and unplug block by block (virtio-mem). Memory of the host is measured."""

import itertools
import os
from pathlib import Path

from tests.lab.conftest import assert_passed
from tests.lab.test_balloon import blocks, serving, wait_until
from tests.lab.test_moves import config, move  # noqa: F401 (a fixture)
from tests.lab.test_resize import resources
from tests.support.api import Api
from tests.support.resident import resident

SOCKET = Path("/run/hako-api.sock")
MIB = 1 << 20
LEAST = 512 * MIB
#: As the guest's kernel has it: what comes may go again.
ONLINE = "memhp_default_state=online_movable"
TURNS = itertools.count(1)

#: use N: N MiB of a file system in memory, check N: they are as they were and go; total: what the kernel has.
SCRIPT = r"""
(until [ -e /run/stop ]; do
    nice md5sum /usr/bin/perl >/dev/null || echo LOAD FAILED
    sleep 0.2
done) & load=$!
pattern() { head -c $1M /dev/zero | tr '\0' x; }
mkdir -p /run/big
echo READY
while read -r what number turn; do
    answer=
    case $what in
    end) break ;;
    use) mount -t tmpfs -o size=2G big /run/big && pattern $number >/run/big/file || echo USE FAILED ;;
    look) pattern $number | cmp - /run/big/file || echo CHECK FAILED ;;
    check) pattern $number | cmp - /run/big/file && umount /run/big || echo CHECK FAILED ;;
    total) read -r _ answer _ </proc/meminfo ;;
    esac
    echo "DONE $answer at $turn."
done
touch /run/stop
wait $load
dmesg --level=emerg,alert,crit,err | grep . && exit 30
exit 0
"""


def do(machine, what: str, number: int = 0) -> str:
    """Has the guest do it, and waits for it: its answer."""
    turn = next(TURNS)
    machine.type(f"{what} {number} {turn}\n")
    return machine.wait_for(f" at {turn}.").rsplit("DONE", 1)[1].strip()


def told(api: Api) -> tuple[int, int]:
    """Bytes that the guest is to have, and that it has."""
    info = api.get("vm.info")
    return LEAST + info["config"]["memory"]["hotplugged_size"], info["memory_actual_size"]


def resize(machine, api: Api, wanted: int) -> None:
    """The guest has it, and says so."""
    assert api.put("vm.resize", {"desired_ram": wanted}) is None
    assert api.put("vm.resize", {"desired_ram": wanted}) is None
    # What is in use is moved away, and the driver tries again later what could not be.
    wait_until(lambda: told(api) == (wanted, wanted), f"{wanted >> 20} MiB, the guest has {told(api)[1] >> 20}")
    # What it has plugged last its kernel makes use of a moment later.
    wait_until(lambda: wanted - 160 * MIB < int(do(machine, "total")) << 10 <= wanted, "of use to the guest")


def test_memory_grows_and_shrinks_under_load_and_the_host_gets_it_back(quick):
    with quick(SCRIPT, "--cpus", 2, "--api-socket", SOCKET, timeout=450, cmdline=ONLINE,
               memory="512M,hotplug=2G,hotplug_method=virtio-mem") as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            assert told(api) == (LEAST, LEAST)
            before = resources(machine.pid)
            resize(machine, api, 2048 * MIB)
            do(machine, "use", 600)
            assert blocks(machine.pid) > 600 * MIB
            do(machine, "check", 600)
            do(machine, "use", 150)
            resize(machine, api, 1024 * MIB)  # what is in use moves out of what goes
            do(machine, "check", 150)
            wait_until(lambda: blocks(machine.pid) < 1024 * MIB, "memory given back")
            assert resident(machine.pid).guest < 1024 * MIB
            for _ in range(2):
                resize(machine, api, 1536 * MIB)
                resize(machine, api, 1000 * MIB)
            resize(machine, api, LEAST)
            wait_until(lambda: blocks(machine.pid) < LEAST + MIB, "all of it given back")
            told_counters = api.get("vm.counters")["__mem"]
            assert told_counters["errors"] == 0 and told_counters["kept_bytes"] == 0, told_counters
            assert resources(machine.pid) == before
            machine.type("end\n")
        outcome = machine.wait()
    assert_passed(outcome)
    assert "FAILED" not in outcome.console


def test_a_guest_is_saved_and_moves_with_what_it_has_plugged(config, tmp_path):  # noqa: F811
    saved = tmp_path / "saved"
    saved.mkdir()
    vm = config(SCRIPT, 2, memory={"size": LEAST, "hotplug_size": 2048 * MIB, "hotplug_method": "VirtioMem"})
    vm["payload"]["cmdline"] += " " + ONLINE
    with serving(tmp_path / "a") as a, serving(tmp_path / "b") as b:
        with a.api(timeout=120) as api:
            api.put("vm.create", vm)
            api.put("vm.boot")
            a.wait_for("READY", timeout=120)
            resize(a, api, 1536 * MIB)
            do(a, "use", 300)
            do(a, "check", 300)
            resize(a, api, 1024 * MIB)
            do(a, "use", 50)
            api.put("vm.snapshot", {"destination_url": f"file://{saved}", "live": True})
            assert os.stat(saved / "memory-ranges").st_blocks * 512 < 1024 * MIB
        move(a, b, "unix:/run/mem.sock")
        with b.api(timeout=120) as api:
            assert told(api) == (1024 * MIB, 1024 * MIB)
            do(b, "look", 50)
            wait_until(lambda: blocks(b.pid) < 1024 * MIB, "memory given back")
            resize(b, api, 640 * MIB)
            do(b, "check", 50)
            wait_until(lambda: blocks(b.pid) < 640 * MIB + MIB, "memory given back")
            resize(b, api, 1536 * MIB)
            b.type("end\n")
            b.wait_for("HAKO-TEST-EXIT=0", timeout=120)
    for mode in ("Copy", "OnDemand"):
        with serving(tmp_path / mode) as c, c.api(timeout=120) as api:
            api.put("vm.restore", {"source_url": f"file://{saved}", "memory_restore_mode": mode, "resume": True})
            assert told(api) == (1024 * MIB, 1024 * MIB)
            do(c, "look", 50)
            resize(c, api, 1536 * MIB)
            resize(c, api, 640 * MIB)
            do(c, "check", 50)
            c.type("end\n")
            c.wait_for("HAKO-TEST-EXIT=0", timeout=120)
