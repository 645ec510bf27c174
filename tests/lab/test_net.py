"""virtio-net on taps, on vhost-net and on passt, from stock Debian guests."""

import contextlib
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.conftest import assert_passed
from tests.support.hako import BUILD

HOST, GUEST = "192.0.2.1", "192.0.2.2"

#: The guest's side of the wire, then the test.
SET_UP = f"""
mac=$(cat /sys/class/net/eth0/address)
echo "mac $mac, queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l), mtu $(cat /sys/class/net/eth0/mtu)"
ip address add {GUEST}/24 dev eth0 && ip link set eth0 up || exit 10
until ping -c 1 -W 1 {HOST} >/dev/null; do echo waiting; done
"""


def ip(*arguments: object) -> None:
    subprocess.run(["ip", *map(str, arguments)], check=True)


@pytest.fixture
def tap():
    """tap(queues=1, mtu=1500): the name of a tap of the lab host with the address HOST."""
    name = "hako-test"

    def make(queues: int = 1, mtu: int = 1500) -> str:
        ip("tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr", *(["multi_queue"] if queues > 1 else []))
        ip("link", "set", name, "mtu", mtu, "up")
        ip("address", "add", f"{HOST}/24", "dev", name)
        return name

    yield make
    subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def iperf_server(address: str = HOST):
    """iperf3 on the lab host, listening."""
    server = subprocess.Popen(["iperf3", "--server", "--forceflush", "--bind", address], stdout=subprocess.PIPE,
                              text=True)
    try:
        while "listening" not in server.stdout.readline():
            assert server.poll() is None
        yield
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def vhost_time(pid: int) -> int:
    """CPU time of the kernel's threads that serve the queues of the process `pid`, in clock ticks."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/task/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, fields = stat.read_text().split("(", 1)[1].rsplit(")", 1)
            if name == f"vhost-{pid}":
                total += int(fields.split()[11]) + int(fields.split()[12])
    return total


@pytest.mark.parametrize("vhost", ["off", "on"])
@pytest.mark.parametrize("queues, mtu, cpus", [(1, 1500, 1), (4, 9000, 4)])
def test_streams_go_both_ways(quick, tap, queues, mtu, cpus, vhost):
    name = tap(queues, mtu)
    script = SET_UP + f"""
ping -c 3 -M do -s {mtu - 28} {HOST} || exit 1
iperf3 --client {HOST} --bytes 64M --parallel {queues} || exit 2
iperf3 --client {HOST} --bytes 64M --parallel {queues} --reverse || exit 3
grep -h . /sys/class/net/eth0/statistics/*_errors | grep -v '^0$' && exit 4
exit 0
"""
    with iperf_server():
        with quick(script, "--cpus", cpus, "--net",
                   f"tap={name},mtu={mtu},queues={queues},vhost={vhost},mac=02:00:00:00:00:07") as machine:
            machine.wait_for("iperf Done.")
            assert (vhost_time(machine.pid) > 0) == (vhost == "on")
            outcome = machine.wait()
    assert_passed(outcome)
    assert f"mac 02:00:00:00:00:07, queues {queues}, mtu {mtu}" in outcome.console


def test_a_tap_that_is_deleted_leaves_the_guest_without_network_and_running(quick, tap):
    name = tap()
    script = SET_UP + f"""
echo CONNECTED
read -r go
ping -c 2 -W 1 {HOST} && exit 1
dd if=/dev/vda of=/dev/null bs=1M count=4 2>/dev/null || exit 2
exit 0
"""
    with quick(script, "--net", f"tap={name}") as machine:
        machine.wait_for("CONNECTED")
        ip("link", "del", name)
        machine.type("\n")
        assert_passed(machine.wait())
        assert f"tap {name} is gone" in machine.stderr_text()


def test_the_kernel_serves_queues_pauses_and_goes_on():
    """The unit tests that need a real tap or /dev/vhost-net."""
    result = subprocess.run([BUILD / "tests/unit/virtio/unit-virtio", "--test-case=*tap*,*vhost*"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout
    assert "not tested" not in result.stdout, result.stdout


def test_two_guests_on_a_bridge(quick):
    """Jumbo frames and four queues, from one hako to the other."""
    bridge, taps = "hako-bridge", ("hako-a", "hako-b")
    ip("link", "add", bridge, "type", "bridge")
    try:
        for name in taps:
            ip("tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr", "multi_queue")
            ip("link", "set", name, "mtu", 9000, "master", bridge, "up")
        ip("link", "set", bridge, "mtu", 9000, "up")
        net = "tap={},mtu=9000,queues=4"
        server = f"""
ip address add {HOST}/24 dev eth0 && ip link set eth0 up || exit 10
iperf3 --server --one-off --forceflush || exit 1
iperf3 --server --one-off --forceflush || exit 2
"""
        client = SET_UP + f"""
ping -c 3 -M do -s 8972 {HOST} || exit 1
iperf3 --client {HOST} --bytes 64M --parallel 4 || exit 2
until iperf3 --client {HOST} --bytes 64M --parallel 4 --reverse; do sleep 1; done
grep -h . /sys/class/net/eth0/statistics/*_errors | grep -v '^0$' && exit 4
exit 0
"""
        with quick(server, "--cpus", 4, "--net", net.format(taps[0]), shared=True) as first:
            first.wait_for("Server listening")
            with quick(client, "--cpus", 4, "--net", net.format(taps[1]), shared=True) as second:
                outcome = second.wait()
                assert_passed(outcome)
                assert "queues 4, mtu 9000" in outcome.console
            assert_passed(first.wait())
    finally:
        for name in (*taps, bridge):
            subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL)


#: passt gives the guest the host's address, and takes what goes to the gateway for the host's own.
GATEWAY = "192.0.2.254"


@contextlib.contextmanager
def uplink():
    """An interface with a default route, which passt asks for."""
    name = "hako-up"
    ip("link", "add", name, "type", "veth", "peer", "name", name + "-peer")
    try:
        ip("link", "set", name + "-peer", "up")
        ip("link", "set", name, "up")
        ip("address", "add", f"{HOST}/24", "dev", name)
        ip("route", "add", "default", "via", GATEWAY)
        yield
    finally:
        ip("link", "del", name)


@contextlib.contextmanager
def passt(socket: Path):
    """passt, listening at `socket`."""
    socket.unlink(missing_ok=True)
    # It makes a user namespace, which no process in a chroot may: it runs beside the lab's, with this root.
    inner = f"cd /host && mount --move . / && exec chroot . /usr/bin/passt --foreground --runas 0 -4 --socket {socket}"
    process = subprocess.Popen(["nsenter", "--target", "1", "--root", "--mount", "/bin/busybox", "unshare", "--mount",
                                "/bin/busybox", "sh", "-c", inner], stderr=subprocess.PIPE, text=True)
    said = []
    try:
        while not socket.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        said.append(process.communicate()[1])
        print(*said)


def test_streams_go_both_ways_over_passt_and_it_may_go_and_come_back(quick, tmp_path):
    socket = tmp_path / "passt"
    script = f"""
echo "mtu $(cat /sys/class/net/eth0/mtu)"
ip address add {HOST}/24 dev eth0 && ip link set eth0 mtu 65520 up && ip route add default via {GATEWAY} || exit 10
iperf3 --client {GATEWAY} --bytes 64M || exit 1
iperf3 --client {GATEWAY} --bytes 64M --reverse || exit 2
carrier() {{ until [ "$(cat /sys/class/net/eth0/carrier)" = $1 ]; do sleep 0.1; done; }}
echo CONNECTED
carrier 0
echo CUT
carrier 1
iperf3 --client {GATEWAY} --bytes 8M || exit 3
iperf3 --client {GATEWAY} --bytes 8M --reverse || exit 4
grep -h . /sys/class/net/eth0/statistics/*_errors | grep -v '^0$' && exit 5
exit 0
"""
    with uplink(), iperf_server("127.0.0.1"):
        with contextlib.ExitStack() as first:
            first.enter_context(passt(socket))
            with quick(script, "--net", f"socket={socket},mtu=65520") as machine:
                machine.wait_for("CONNECTED")
                first.close()
                machine.wait_for("CUT")
                with passt(socket):
                    outcome = machine.wait()
    assert_passed(outcome)
    assert "mtu 65520" in outcome.console
    assert f"network socket {socket} is lost" in outcome.stderr
    assert f"network socket {socket} is back" in outcome.stderr
