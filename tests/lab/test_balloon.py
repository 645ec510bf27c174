"""A balloon in stock Debian guests: what the guest does without, the host has. Memory of the host is measured."""

import itertools
import os
import re
import select
import time
from pathlib import Path

from tests.lab.conftest import assert_passed
from tests.lab.test_moves import config, move  # noqa: F401 (a fixture)
from tests.support.api import Api
from tests.support.resident import resident
from tests.support.serve import Server

SOCKET = Path("/run/hako-api.sock")
MIB = 1 << 20
#: As the fixture `quick` has it.
GUEST = 1024 * MIB
#: What the guest's kernel may need of its own beside what a test asks for.
SLACK = 24 * MIB
TURNS = itertools.count(1)

#: fill N: touches N MiB of anonymous memory and lets go of them. hold N: keeps N MiB of a file system in memory, each page
#: with its own content; check: they are as they were. A line on the console says when it is done.
SCRIPT = r"""
cat >/run/fill.pl <<'END'
my $text = ""; my $block = "x" x 1048576;
$text .= $block for 1 .. shift;
print length($text) / 1048576, " MiB filled\n";
END
hold() {
    mkdir -p /run/held
    mount -t tmpfs -o size=90% held /run/held
    perl -e 'for my $i (1 .. shift) { open(F, ">", "/run/held/$i") or die; print F pack("Q", $i) x 131072; close(F) or die }' $1
    cat /run/held/* | md5sum >/run/sum
}
echo READY
while read -r what number turn; do
    case $what in
    end) break ;;
    fill) perl /run/fill.pl $number || echo FILL FAILED ;;
    hold) hold $number ;;
    check) cat /run/held/* | md5sum | cmp - /run/sum || echo CHECK FAILED ;;
    esac
    echo "DONE $turn."
done
dmesg --level=emerg,alert,crit | grep . && exit 30
exit 0
"""


def memory(pid: int) -> int:
    """Bytes of the guest's memory that the host has in use: the pages of its file, whoever maps them."""
    return resident(pid).guest


def blocks(pid: int) -> int:
    """The same, as the file has it, in bytes."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if "hako-ram" in os.readlink(fd):
            return os.stat(fd).st_blocks * 512
    raise AssertionError("no guest memory")


def wait_until(condition, what: str, timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        select.select([], [], [], 0.05)


def actual(api: Api) -> int:
    """Bytes that the guest does without."""
    return GUEST - api.get("vm.info")["memory_actual_size"]


def counters(api: Api) -> dict[str, int]:
    return api.get("vm.counters")["__balloon"]


def inflate(api: Api, size: int) -> None:
    api.put("vm.resize", {"desired_balloon": size})
    assert api.get("vm.info")["config"]["balloon"]["size"] == size
    wait_until(lambda: actual(api) == size, f"a balloon of {size >> 20} MiB, it has {actual(api) >> 20}")


def do(machine, what: str, number: int = 0) -> None:
    """Has the guest do it, and waits for it."""
    turn = next(TURNS)
    machine.type(f"{what} {number} {turn}\n")
    machine.wait_for(f"DONE {turn}.")


def test_memory_goes_to_the_host_and_comes_back_12_times_and_leaves_nothing(quick):
    with quick(SCRIPT, "--balloon", "size=0", "--api-socket", SOCKET, timeout=300) as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            do(machine, "fill", 300)
            full = blocks(machine.pid)
            assert full > 300 * MIB
            for size in (640, 760, 720, 750, 700, 760, 740, 760, 690, 720, 700, 760):
                inflate(api, size * MIB)
                assert blocks(machine.pid) < GUEST - size * MIB + SLACK
                assert memory(machine.pid) < GUEST - size * MIB + SLACK
            fds = len(os.listdir(f"/proc/{machine.pid}/fd"))
            maps = len(Path(f"/proc/{machine.pid}/maps").read_text().splitlines())
            inflate(api, 720 * MIB)
            inflate(api, 0)
            assert len(os.listdir(f"/proc/{machine.pid}/fd")) == fds
            assert len(Path(f"/proc/{machine.pid}/maps").read_text().splitlines()) == maps
            # All of it is the guest's again.
            do(machine, "fill", 500)
            assert blocks(machine.pid) > 500 * MIB
            told = counters(api)
            assert told["errors"] == 0 and told["inflated_pages"] == told["deflated_pages"] == told["discarded_pages"]
            # Statistics are those of the last time that somebody asked.
            asked = told["statistics"]
            wait_until(lambda: counters(api)["statistics"] > asked + 1, "fresh statistics")
            told = counters(api)
            assert 800 * MIB < told["total_memory"] < GUEST and 0 < told["free_memory"] < told["total_memory"], told
            machine.type("end\n")
        outcome = machine.wait()
    assert_passed(outcome)
    assert "FAILED" not in outcome.console


def test_pages_that_the_guest_frees_go_to_the_host_by_themselves(quick):
    with quick(SCRIPT, "--balloon", "free_page_reporting=on", "--api-socket", SOCKET,
               timeout=300) as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            for size in (600, 610):
                before = counters(api)["reported_pages"]
                do(machine, "fill", size)
                # The guest reports some seconds later; large pieces only.
                wait_until(lambda: counters(api)["reported_pages"] - before > 500 * MIB / 4096, "reports")
                wait_until(lambda: blocks(machine.pid) < 300 * MIB, "memory given back")
            # Some may be under way.
            wait_until(lambda: (told := counters(api))["discarded_pages"] == told["reported_pages"], "all reports")
            told = counters(api)
            assert told["errors"] == 0 and told["actual_bytes"] == 0, told
            machine.type("end\n")
        outcome = machine.wait()
    assert_passed(outcome)
    assert "FAILED" not in outcome.console


def test_a_guest_short_of_memory_takes_some_back(quick):
    with quick(SCRIPT, "--balloon", "deflate_on_oom=on", "--api-socket", SOCKET,
               timeout=300) as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            inflate(api, 760 * MIB)
            do(machine, "fill", 400)
            assert actual(api) < 760 * MIB
            assert counters(api)["deflated_pages"] > 0
            machine.type("end\n")
        outcome = machine.wait()
    assert_passed(outcome)
    assert "400 MiB filled" in outcome.console and "FAILED" not in outcome.console


def anonymous(pid: int) -> int:
    """Bytes of memory that are no file's."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: *([0-9]+) kB", rollup, re.MULTILINE)[1]) * 1024


def test_a_snapshot_keeps_the_balloon_and_is_restored_with_it(config, tmp_path):  # noqa: F811
    """By copy, and mapped: there what is given up must not be the file's again, nor take anything else along."""
    saved = tmp_path / "saved"
    with serving(tmp_path / "a") as a, a.api(timeout=120) as api:
        api.put("vm.create", config(SCRIPT, 1, memory={"size": GUEST}, balloon={"size": 0}))
        api.put("vm.boot")
        a.wait_for("READY", timeout=120)
        do(a, "fill", 600)
        do(a, "hold", 64)
        inflate(api, 700 * MIB)
        api.put("vm.pause")
        saved.mkdir()
        api.put("vm.snapshot", {"destination_url": f"file://{saved}"})
        assert os.stat(saved / "memory-ranges").st_blocks * 512 < GUEST - 700 * MIB + SLACK
        # Who saves does not fill up what is not there.
        assert blocks(a.pid) < GUEST - 700 * MIB + SLACK
    for mode in ("Copy", "OnDemand"):
        with serving(tmp_path / mode) as b, b.api(timeout=120) as api:
            api.put("vm.restore", {"source_url": f"file://{saved}", "memory_restore_mode": mode, "resume": True})
            assert actual(api) == 700 * MIB == api.get("vm.info")["config"]["balloon"]["size"]
            assert mode == "OnDemand" or blocks(b.pid) < GUEST - 700 * MIB + SLACK
            do(b, "check")
            inflate(api, 0)
            do(b, "fill", 600)
            full = anonymous(b.pid)
            inflate(api, 800 * MIB)
            do(b, "check")
            if mode == "OnDemand":
                assert full > 600 * MIB and anonymous(b.pid) < full - 500 * MIB, (full, anonymous(b.pid))
            inflate(api, 128 * MIB)
            do(b, "check")
            assert counters(api)["errors"] == 0
            b.type("end\n")
            b.wait_for("HAKO-TEST-EXIT=0", timeout=120)


def serving(folder: Path) -> Server:
    folder.mkdir()
    return Server(folder, typing=True)


def test_a_guest_goes_on_elsewhere_with_its_balloon(config, tmp_path):  # noqa: F811
    with serving(tmp_path / "a") as a, serving(tmp_path / "b") as b:
        with a.api(timeout=120) as api:
            api.put("vm.create", config(SCRIPT, 1, memory={"size": GUEST}, balloon={"size": 0, "free_page_reporting": True}))
            api.put("vm.boot")
            a.wait_for("READY", timeout=120)
            do(a, "hold", 64)
            inflate(api, 700 * MIB)
        move(a, b, "unix:/run/balloon.sock")
        with b.api(timeout=120) as api:
            assert actual(api) == 700 * MIB
            do(b, "check")
            assert blocks(b.pid) < GUEST - 700 * MIB + SLACK
            inflate(api, 64 * MIB)
            inflate(api, 800 * MIB)
            do(b, "check")
            b.type("end\n")
            b.wait_for("HAKO-TEST-EXIT=0", timeout=120)
