"""virtio-net on a tap, from stock Debian guests."""

import contextlib
import subprocess

import pytest

from tests.lab.conftest import assert_passed

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
def iperf_server():
    """iperf3 on the lab host, listening."""
    server = subprocess.Popen(["iperf3", "--server", "--forceflush", "--bind", HOST], stdout=subprocess.PIPE, text=True)
    try:
        while "listening" not in server.stdout.readline():
            assert server.poll() is None
        yield
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.parametrize("queues, mtu, cpus", [(1, 1500, 1), (4, 9000, 4)])
def test_streams_go_both_ways(quick, tap, queues, mtu, cpus):
    name = tap(queues, mtu)
    script = SET_UP + f"""
ping -c 3 -M do -s {mtu - 28} {HOST} || exit 1
iperf3 --client {HOST} --bytes 64M --parallel {queues} || exit 2
iperf3 --client {HOST} --bytes 64M --parallel {queues} --reverse || exit 3
grep -h . /sys/class/net/eth0/statistics/*_errors | grep -v '^0$' && exit 4
exit 0
"""
    with iperf_server():
        with quick(script, "--cpus", cpus, "--net", f"tap={name},mtu={mtu},queues={queues},mac=02:00:00:00:00:07") as machine:
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
