"""Rate limits, as guests measure them: within a tenth of what was promised, the burst taken off."""

import json

from tests.lab.conftest import assert_passed
from tests.lab.test_debian import image, section
from tests.lab.test_hotplug import SOCKET
from tests.lab.test_net import HOST, SET_UP, iperf_server, tap  # noqa: F401 (a fixture)
from tests.support.api import Api

#: Low enough for an emulated host; a tenth of a second's worth goes at once.
BANDWIDTH = 4 << 20
OPERATIONS = 200
NET_BANDWIDTH = 1 << 20
SECONDS = 6


def fio(disk: str, mode: str, block: str, name: str) -> str:
    return f"""echo "[{name}"
fio --eta=never --name={name} --filename=/dev/{disk} --direct=1 --ioengine=libaio --iodepth=8 --rw={mode} --bs={block} \
    --time_based --runtime={SECONDS} --output-format=json --output=/tmp/{name}.json || exit 1
cat /tmp/{name}.json
echo "{name}]"
"""


def job(console: str, name: str, direction: str) -> dict:
    """fio's figures of one direction."""
    return json.loads(section(console, name))["jobs"][0][direction]


def assert_near(measured: float, limit: float) -> None:
    assert 0.9 * limit <= measured <= 1.1 * limit, f"measured {measured}, the limit is {limit}"


def test_a_disk_keeps_to_its_limits(quick):
    fast, small = image("bandwidth.img", 64), image("operations.img", 64)
    script = fio("vdb", "read", "64k", "reads") + fio("vdb", "write", "64k", "writes") + \
        fio("vdc", "randread", "4k", "operations")
    with quick(script, "--disk", f"path={fast},bandwidth=4M/s,queues=2", "--disk", f"path={small},iops={OPERATIONS}",
               "--cpus", 2) as machine:
        outcome = machine.wait()
    assert_passed(outcome)
    for name, direction in (("reads", "read"), ("writes", "write")):
        done = job(outcome.console, name, direction)
        assert_near((done["io_bytes"] - BANDWIDTH // 10) / (done["runtime"] / 1000), BANDWIDTH)
    done = job(outcome.console, "operations", "read")
    assert_near((done["total_ios"] - OPERATIONS // 10) / (done["runtime"] / 1000), OPERATIONS)


def test_a_network_interface_keeps_to_its_limits_both_ways(quick, tap):  # noqa: F811
    script = SET_UP + "".join(f"""
iperf3 --client {HOST} --time {SECONDS} --omit 2 --json {option} >/tmp/iperf.json || exit 1
echo "[{way}"; cat /tmp/iperf.json; echo "{way}]"
""" for way, option in (("sent", ""), ("received", "--reverse")))
    name = tap()
    with iperf_server():
        with quick(script, "--net", f"tap={name},bandwidth=1M/s") as machine:
            outcome = machine.wait()
    assert_passed(outcome)
    for way in ("sent", "received"):
        measured = json.loads(section(outcome.console, way))["end"]["sum_received"]["bits_per_second"] / 8
        assert_near(measured, NET_BANDWIDTH)


def test_a_disk_keeps_to_a_limit_that_was_changed_while_it_waited(quick):
    script = """
dd if=/dev/vdb of=/dev/null bs=1M count=24 iflag=direct 2>/dev/null & slow=$!
echo STARTED
read -r go
wait $slow || exit 2
""" + fio("vdb", "read", "64k", "reads")
    # A burst of 4 KiB: the first read already waits.
    with quick(script, "--disk", f"path={image('changed.img', 64)},bandwidth=16K/s,bandwidth_burst=4K,id=data", "--cpus", 2,
               "--api-socket", SOCKET, timeout=120) as machine:
        machine.wait_for("STARTED")
        with Api(SOCKET) as api:
            bucket = {"size": BANDWIDTH // 10, "refill_time": 100}
            api.put("vm.set-limits", {"id": "data", "rate_limiter_config": {"bandwidth": bucket}})
        machine.type("\n")
        outcome = machine.wait()
    assert_passed(outcome)
    done = job(outcome.console, "reads", "read")
    assert_near((done["io_bytes"] - BANDWIDTH // 10) / (done["runtime"] / 1000), BANDWIDTH)
