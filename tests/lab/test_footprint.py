"""What a VM costs its host beyond the guest's memory."""

from tests.lab.conftest import assert_passed
from tests.lab.test_debian import image
from tests.lab.test_hotplug import hot_taps, resources  # noqa: F401 (a fixture)
from tests.lab.test_net import HOST, SET_UP, iperf_server, tap  # noqa: F401 (a fixture)

LIMIT_KIB = 5 * 1024

#: Uses all of them, and much at a time.
WORK = SET_UP + f"""
for disk in vdb vdc; do
    fio --name=$disk --filename=/dev/$disk --direct=1 --ioengine=libaio --iodepth=32 --rw=randrw --bsrange=4k-256k \
        --size=16M --io_size=32M --minimal >/run/$disk.log 2>&1 || exit 1
done
iperf3 --client {HOST} --bytes 32M >/run/sent.log || exit 2
iperf3 --client {HOST} --bytes 32M --reverse >/run/received.log || exit 3
seq 100000 >/dev/hvc0 || exit 4
"""

MEASURE = """
echo MEASURE
read -r go
exit 0
"""


def measure(machine) -> dict[str, int]:
    with machine:
        machine.wait_for("MEASURE")
        found = resources(machine.pid)
        machine.type("\n")
        assert_passed(machine.wait())
    return found


def test_two_disks_two_nets_and_consoles_cost_less_than_5_mib(quick, tap, hot_taps, tmp_path):  # noqa: F811
    devices = ["--console", f"socket={tmp_path / 'console'}", "--net", f"tap={tap()}", "--net", f"tap={hot_taps[0]}",
               "--disk", image("cost0.img", 16), "--disk", image("cost1.img", 16)]
    with iperf_server():
        at_work = measure(quick(WORK + MEASURE, *devices, timeout=600))
    bare = measure(quick(MEASURE))
    print(f"beyond guest memory: {at_work} at work, {bare} with a root disk only")
    assert at_work["kib"] < LIMIT_KIB, (at_work, bare)
    assert at_work["threads"] == bare["threads"], (at_work, bare)
