"""Stock Debian guests that are saved, restored and moved while they work, and lose nothing."""

import base64
import contextlib
import json
import os
import subprocess
import time

import pytest

from tests.guest.test_migration import certificates, receive, wait_for_end, wait_for_no_vm
from tests.guest.test_postcopy import POSTCOPY, assert_whole, progress_of
from tests.lab.conftest import artifact
from tests.lab.test_debian import image
from tests.lab.test_net import HOST, SET_UP, iperf_server, ip
from tests.lab.test_runtimes import open_tap
from tests.support.hako import BUILD, HAKO, ROOT
from tests.support.migration_proxy import Fault, Proxy
from tests.support.serve import Server

#: A disk that is verified, memory that is checked, registers and timers (witness.cpp), time that does not go back, all CPUs
#: at work.
WORK = """
mkdir -p /run/tools
mount -o ro "$(blkid -L tools)" /run/tools
/run/tools/witness /run/stop & witness=$!
(until [ -e /run/stop ]; do
    fio --name=load --filename=/dev/vdb --direct=1 --ioengine=libaio --iodepth=8 --rw=randrw --bsrange=4k-64k --size=16M \
        --io_size=4M --verify=crc32c --verify_fatal=1 --minimal >/run/fio.log 2>&1 || { cat /run/fio.log; echo LOAD FAILED; }
done) & fio=$!
(until [ -e /run/stop ]; do
    stress-ng --vm 1 --vm-bytes 16M --vm-keep --verify --timeout 2 >/run/stress.log 2>&1 || { cat /run/stress.log; echo MEMORY FAILED; }
done) & memory=$!
hundredths() { tr -d . </proc/uptime | cut -d ' ' -f 1; }
last=$(hundredths)
for tick in $(seq 1 TICKS); do
    sleep 0.5
    now=$(hundredths)
    [ "$now" -ge "$last" ] || echo "TIME FAILED: from $last to $now"
    last=$now
    echo "tick $tick"
done
touch /run/stop
wait $fio $memory
wait $witness || echo WITNESS FAILED
dmesg | grep -iE "i/o error|lockup|stall|hung_task|went backwards|clocksource.*unstable" && echo KERNEL FAILED
true
"""


#: How often a guest at work is moved (tests/lab/run passes it on).
TURNS = int(os.environ.get("HAKO_MOVES", "8"))


def until_told(work: str) -> str:
    """The same work, until a line is typed."""
    return "(read line </dev/ttyS0; touch /run/stop) &\n" + work.replace(
        "for tick in $(seq 1 TICKS)", "tick=0; while [ ! -e /run/stop ] && tick=$((tick + 1))")


#: For the guest's user space.
TOOL = {"base64": base64.b64encode((BUILD / "tests" / "lab" / "witness").read_bytes()).decode(), "mode": 0o555}


@pytest.fixture
def server(tmp_path):
    with contextlib.ExitStack() as stack:
        made = []

        def make(namespace: str | None = None) -> Server:
            """`namespace`: of a network, in which it lives."""
            folder = tmp_path / f"server{len(made)}"
            folder.mkdir()
            command = ["ip", "netns", "exec", namespace, HAKO, "serve"] if namespace else None
            made.append(stack.enter_context(Server(folder, typing=True, command=command)))
            return made[-1]

        yield make
        for one in made:
            lines = one.console_text().splitlines()
            # What failed stands in the lines before.
            failures = [lines[max(number - 8, 0):number + 1] for number, line in enumerate(lines) if "FAILED" in line]
            assert not failures, failures


@pytest.fixture
def config(tmp_path, root_disk):
    """The VM that runs `script` in a Debian user space."""

    def make(script: str, cpus: int = 2, **fields) -> dict:
        (tmp_path / "script").write_text(script)
        subprocess.run([ROOT / "tools" / "lab", "quick-initrd", "--kernel", "kernel", "--script", tmp_path / "script",
                        "--output", tmp_path / "initrd"], check=True)
        return {"payload": {"kernel": artifact("kernel"), "initramfs": str(tmp_path / "initrd"),
                            "cmdline": "console=ttyS0 panic=-1 hako.root=/dev/vda"},
                "memory": {"size": 512 << 20}, "cpus": {"boot_vcpus": cpus, "max_vcpus": cpus},
                "disks": [{"path": str(root_disk), "serial": "root"}, {"path": str(image("moves.img", 32))}],
                "helper_disks": [{"id": "tools", "label": "tools", "files": {"witness": TOOL}}],
                "serial": {"mode": "Tty"}, "console": {"mode": "Off"}, **fields}

    return make


def boot(server, config) -> None:
    with server.api() as api:
        api.put("vm.create", config)
        api.put("vm.boot")
    server.wait_for("tick 1\r", timeout=300)


def move(source, destination, url: str, fds=(), net_fds=None, **fields) -> dict:
    answer = receive(destination, url, list(fds), **({"net_fds": net_fds} if net_fds else {}))
    with answer, source.api(timeout=120) as api:
        api.put("vm.send-migration", {"destination_url": url, **fields})
        progress = wait_for_end(api)
        assert progress["status"] == "finished", json.dumps(progress)
        wait_for_no_vm(api)
        assert answer.response().status == 204
    return progress


def assert_works_to_its_end(vm) -> None:
    """A guest that works until it is told."""
    vm.type("end\n")
    vm.wait_for("witness: ", timeout=300)
    vm.wait_for("HAKO-TEST-EXIT=0", timeout=300)


@pytest.mark.parametrize("cpus", [1, 4])
def test_a_working_guest_moves_again_and_again(server, config, cpus):
    a, b = server(), server()
    boot(a, config(until_told(WORK), cpus))
    ways = [("unix:/run/moves.sock", {}), ("tcp:127.0.0.1:47613", {"connections": 2}),
            ("unix:/run/moves.sock", {"local": True}), ("tcp:[::1]:47614", {"auto_converge": True})]
    for turn in range(TURNS):
        url, fields = ways[turn % len(ways)]
        progress = move(a, b, url, **fields)
        print(f"{fields}: downtime {progress['downtime_us']} us, {progress['memory_transmission_info']}")
        b.console.skip()
        b.wait_for("tick ", timeout=120)
        a, b = b, a
    assert_works_to_its_end(a)


def test_a_disk_moves_along(server, config, tmp_path):
    """While fio writes and verifies it; the root disk is shared. At the source its image is of the past then."""
    a, b = server(), server()
    wanted = config(WORK.replace("TICKS", "16"))
    boot(a, wanted)
    url, copy = "unix:/run/moves.sock", tmp_path / "copy.img"
    with receive(b, url, disks=[{"id": "_disk1", "path": str(copy)}]) as answer, a.api(timeout=120) as api:
        api.put("vm.send-migration", {"destination_url": url, "connections": 2, "migrate_disks": ["_disk1"]})
        progress = wait_for_end(api)
        assert progress["status"] == "finished", json.dumps(progress)
        wait_for_no_vm(api)
        assert answer.response().status == 204
    print(f"downtime {progress['downtime_us']} us, {progress['disk_transmission_info']}")
    assert progress["disk_transmission_info"]["disk_bytes_transmitted"] > 0
    os.truncate(wanted["disks"][1]["path"], 0)
    b.wait_for("tick ", timeout=120)
    b.wait_for("witness: ", timeout=300)
    b.wait_for("HAKO-TEST-EXIT=0", timeout=300)


@pytest.fixture
def bridge():
    """bridge(): a new tap, open, on a bridge of the lab host with the address HOST."""
    # Without an address of its own a bridge takes that of a port, and another one when this port goes: what the guest
    # knows of its neighbour would then be wrong for a while, whatever moves.
    ip("link", "add", "hako-br", "address", "02:00:00:00:00:01", "type", "bridge")
    ip("address", "add", f"{HOST}/24", "dev", "hako-br")
    ip("link", "set", "hako-br", "up")
    count = 0

    def make() -> int:
        nonlocal count
        name = f"hako-tap{count}"
        count += 1
        fd = open_tap(name)
        ip("link", "set", name, "master", "hako-br", "up")
        return fd

    yield make
    ip("link", "del", "hako-br")


def test_a_connection_outlives_its_moves(server, config, bridge):
    """Each process has a tap of its own; the guest's announcement tells the bridge where it is now."""
    a, b = server(), server()
    script = SET_UP + f"""
iperf3 --client {HOST} --time 20 >/run/iperf.log 2>&1 & iperf=$!
{WORK.replace("TICKS", "20")}
wait $iperf || {{ cat /run/iperf.log; echo NETWORK FAILED; }}
ping -c 2 {HOST} >/dev/null || echo NETWORK FAILED
"""
    with iperf_server():
        tap = bridge()
        with a.api() as api:
            api.put("vm.create", config(script, net=[]))
            api.put("vm.add-net", {"id": "lan"}, fds=[tap])
            api.put("vm.boot")
        os.close(tap)
        a.wait_for("tick 1\r", timeout=300)
        for _ in range(2):
            tap = bridge()
            move(a, b, "unix:/run/moves.sock", fds=[tap], net_fds=[{"id": "lan", "num_fds": 1}])
            os.close(tap)
            b.wait_for("tick ", timeout=120)
            a, b = b, a
        a.wait_for("HAKO-TEST-EXIT=0", timeout=300)


@pytest.fixture
def namespaces():
    """Two networks with a cable between them: name and address of each."""
    made = {"hako-a": "10.77.0.1", "hako-b": "10.77.0.2"}
    ip("link", "add", "hako-veth-a", "type", "veth", "peer", "name", "hako-veth-b")
    for name, address in made.items():
        device = name.replace("hako", "hako-veth")
        ip("netns", "add", name)
        ip("link", "set", device, "netns", name)
        ip("-n", name, "address", "add", f"{address}/24", "dev", device)
        ip("-n", name, "link", "set", device, "up")
    yield made
    for name in made:
        ip("netns", "del", name)


def test_from_one_network_to_another_with_tls(server, config, tmp_path, namespaces):
    """There and back, each side with the other's address only."""
    sides = []
    for name, address in namespaces.items():
        folder = tmp_path / name
        folder.mkdir()
        sides.append((server(name), f"tcp:{address}:47615", certificates(folder, address)))
    boot(sides[0][0], config(until_told(WORK)))
    for (vm, _, _), (other, url, keys) in (sides, sides[::-1]):
        with receive(other, url, tls_dir=keys) as answer, vm.api(timeout=120) as api:
            api.put("vm.send-migration", {"destination_url": url, "tls_dir": keys, "connections": 2})
            progress = wait_for_end(api)
            assert progress["status"] == "finished", json.dumps(progress)
            wait_for_no_vm(api)
            assert answer.response().status == 204
        print(f"{progress['transportation_mode']}: downtime {progress['downtime_us']} us")
        other.console.skip()
        other.wait_for("tick ", timeout=120)
    assert_works_to_its_end(sides[0][0])


def test_a_guests_memory_comes_later(server, config, tmp_path):
    """While it works; all connections break at the first page that it waits for, and it goes on when they are there again."""
    a, b = server(), server()
    boot(a, config(until_told(WORK)))
    with Proxy(tmp_path, "/run/moves.sock", Fault("PAGE_REQUEST", keep=0, cut=True)) as proxy:
        with receive(b, "unix:/run/moves.sock") as answer, a.api(timeout=120) as api:
            api.put("vm.send-migration", {"destination_url": proxy.url, "connections": 2, **POSTCOPY})
            assert answer.response().status == 204
            assert wait_for_end(api)["status"] == "finished"
            wait_for_no_vm(api)
    postcopy = assert_whole(progress_of(b))
    print(postcopy)
    assert postcopy["interruptions"] >= 1 and postcopy["fault_count"] > 0
    b.console.skip()
    b.wait_for("tick ", timeout=120)
    assert_works_to_its_end(b)


def test_a_working_guest_is_saved_and_restored(server, config, tmp_path):
    first = server()
    boot(first, config(WORK.replace("TICKS", "30")))
    for number in range(4):
        folder = tmp_path / f"saved{number}"
        folder.mkdir()
        with first.api(timeout=120) as api:
            api.put("vm.pause")
            api.put("vm.snapshot", {"destination_url": f"file://{folder}"})
            api.put("vm.delete")
        time.sleep(1)  # the guest is not there for a while
        first = server()
        with first.api(timeout=120) as api:
            api.put("vm.restore", {"source_url": f"file://{folder}", "resume": True,
                                   "memory_restore_mode": ["Copy", "OnDemand"][number % 2]})
        first.wait_for("tick ", timeout=120)
    first.wait_for("HAKO-TEST-EXIT=0", timeout=300)


def test_a_running_guest_is_saved_and_its_copies_go_on(server, config, tmp_path):
    """Without disks, which would have to be copied in the same moment."""
    script = WORK[WORK.index("hundredths()"):].replace("TICKS", "25").replace("wait $fio $memory", "")
    wanted = config(script, disks=[])
    wanted["payload"]["cmdline"] = "console=ttyS0 panic=-1"
    first = server()
    boot(first, wanted)
    copies = []
    for number in range(3):
        folder = tmp_path / f"saved{number}"
        folder.mkdir()
        with first.api(timeout=120) as api:
            report = api.put("vm.snapshot", {"destination_url": f"file://{folder}", "live": True})
        print(report)
        first.wait_for("tick ")
        copies.append(server())
        with copies[-1].api(timeout=120) as api:
            api.put("vm.restore", {"source_url": f"file://{folder}", "resume": True, "memory_restore_mode": "OnDemand"})
        copies[-1].wait_for("tick ", timeout=120)
    for one in [first, *copies]:
        one.wait_for("HAKO-TEST-EXIT=0", timeout=300)
