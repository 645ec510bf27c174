"""A Debian guest at work that is snapshotted and restored again and again, and does not notice.

HAKO_SNAPSHOTS says how often (tests/lab/run passes it on).
"""

import os
import shutil
import subprocess
import time

import pytest

from tests.lab.guest_clock import SERVE_TIME, offset
from tests.lab.test_moves import WORK, bridge, config, until_told  # noqa: F401 (fixtures)
from tests.lab.test_net import HOST, SET_UP, iperf_server
from tests.support.serve import Server, vm_config

#: How often a guest at work is saved and restored.
TURNS = int(os.environ.get("HAKO_SNAPSHOTS", "6"))
CPUS = 2

#: On each CPU: time never goes back, from one CPU to another neither, and sleeps end. (clock_gettime is system call 228.)
CLOCKS = r"""
cat >/run/clock.pl <<'END'
$cpu = shift; $time = "\0" x 16; $beats = 0;
open(LAST, "+<", "/run/last") or die;
until (-e "/run/stop") {
    flock(LAST, 2);
    seek(LAST, 0, 0); sysseek(LAST, 0, 0); sysread(LAST, $last, 16);
    syscall(228, 1, $time); @now = unpack("qq", $time); @then = unpack("qq", $last);
    print "TIME FAILED: from @then to @now on CPU $cpu\n" if $now[0] < $then[0] || ($now[0] == $then[0] && $now[1] < $then[1]);
    sysseek(LAST, 0, 0); syswrite(LAST, $time, 16);
    flock(LAST, 8);
    open(BEAT, ">", "/run/beat$cpu.new"); print BEAT ++$beats, "\n"; close(BEAT); rename("/run/beat$cpu.new", "/run/beat$cpu");
    select(undef, undef, undef, 0.05);
}
END
head -c 16 /dev/zero >/run/last
for cpu in $(seq 0 LAST_CPU); do taskset -c $cpu perl /run/clock.pl $cpu & echo 0 >/run/beat$cpu; done
clocksource=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
""".replace("LAST_CPU", str(CPUS - 1))

#: The stream has to live to the end.
SCRIPT = f"""{SET_UP}
{SERVE_TIME}
iperf3 --client {HOST} --time 86400 --bitrate 8M --interval 0 >/run/iperf.log 2>&1 & iperf=$!
{CLOCKS}
{until_told(WORK)}
kill -0 $iperf || {{ cat /run/iperf.log; echo NETWORK FAILED; }}
ping -c 2 {HOST} >/dev/null || echo NETWORK FAILED
[ "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)" = $clocksource ] || echo CLOCKSOURCE FAILED
"""
# Each tick says how often each CPU woke up.
SCRIPT = SCRIPT.replace('echo "tick $tick"', 'echo "tick $tick $(cat /run/beat*[0-9] | tr "\\n" " ")."')


def tick(server: Server) -> list[int]:
    """How often each CPU woke up, by the next line that the guest begins after this call."""
    for _ in range(2):  # one may be half written
        server.wait_for("tick ", timeout=120)
    return [int(beat) for beat in server.wait_for(".\r", timeout=120).split()[1:]]


class Vm:
    """The VM of this moment, in a process of its own."""

    def __init__(self, folder):
        self._folder = folder
        self._count = 0
        self.server = None
        self.next_server()

    def next_server(self) -> Server:
        if self.server:
            self.end()
        home = self._folder / f"server{self._count}"
        self._count += 1
        home.mkdir()
        self.server = Server(home, typing=True)
        return self.server

    def end(self) -> None:
        assert "FAILED" not in self.server.console_text(), self.server.console_text()
        self.server.__exit__()
        self.server = None


@pytest.fixture
def vm(tmp_path):
    one = Vm(tmp_path)
    yield one
    if one.server:
        one.server.__exit__()


def test_a_guest_does_not_notice(vm, config, bridge, tmp_path):  # noqa: F811
    with iperf_server():
        tap = bridge()
        with vm.server.api() as api:
            api.put("vm.create", config(SCRIPT, cpus=CPUS, net=[]))
            api.put("vm.add-net", {"id": "lan"}, fds=[tap])
            api.put("vm.boot")
        os.close(tap)
        vm.server.wait_for("tick 3 ", timeout=300)
        folders = []
        away = 0.0
        errors = []
        for turn in range(TURNS):
            beats, before = tick(vm.server), offset()
            folder = tmp_path / f"saved{turn}"
            folder.mkdir()
            # Every third is a full one, and the next two are based on the one before.
            base = {"base_url": f"file://{folders[-1]}"} if turn % 3 else {}
            with vm.server.api(timeout=120) as api:
                api.put("vm.pause")
                paused = time.time()
                api.put("vm.snapshot", {"destination_url": f"file://{folder}", **base})
                api.put("vm.delete")
            if not base:
                for old in folders:
                    shutil.rmtree(old)
                folders = []
            folders.append(folder)
            tap = bridge()
            with vm.next_server().api(timeout=120) as api:
                resumed = time.time()
                away += resumed - paused
                api.put("vm.restore", {"source_url": f"file://{folder}", "resume": True, "track": turn % 3 < 2,
                                       "net_fds": [{"id": "lan", "num_fds": 1}],
                                       "memory_restore_mode": ["Copy", "OnDemand"][turn % 2]}, fds=[tap])
            os.close(tap)
            later, after = tick(vm.server), offset()
            errors.append(abs(after.ahead - before.ahead))
            assert errors[-1] < 0.05 + before.doubt + after.doubt, (turn, before, after)
            assert len(later) == CPUS and all(b > a for a, b in zip(beats, later)), (turn, beats, later)
        print(f"{TURNS} times, away for {away:.1f} s; its time of day leaped by {1000 * max(errors):.1f} ms at most")
        vm.server.type("end\n")
        vm.server.wait_for("witness: ", timeout=300)
        vm.server.wait_for("HAKO-TEST-EXIT=0", timeout=300)
        vm.end()


@pytest.fixture
def xfs(tmp_path):
    """A folder on a file system whose files can share blocks."""
    image, folder = tmp_path / "xfs.img", tmp_path / "xfs"
    image.touch()
    os.truncate(image, 512 << 20)
    folder.mkdir()
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_copy_of_a_disk_shares_its_blocks(xfs, tmp_path):
    disk, saved = xfs / "disk.img", xfs / "saved"
    disk.write_bytes(os.urandom(64 << 20))
    saved.mkdir()
    with Server(tmp_path) as server, server.api() as api:
        api.put("vm.create", vm_config("wait", disks=[{"id": "data", "path": str(disk)}]))
        api.put("vm.boot")
        os.sync()
        before = shutil.disk_usage(xfs).used
        api.put("vm.snapshot", {"destination_url": f"file://{saved}", "live": True,
                                "disks": [{"id": "data", "path": str(saved / "disk.img")}]})
        os.sync()
        assert shutil.disk_usage(xfs).used - before < 32 << 20
        assert (saved / "disk.img").read_bytes() == disk.read_bytes()
        # A hako that was killed leaves its files open for a moment after it; one that ends does not, as umount sees.
        assert server.terminate() == 0
