"""VMs that live under `hako serve`: the bare-metal guest, driven over REST. Runs on any KVM."""

import json
import select
import socket
import subprocess
from pathlib import Path

import pytest

from tests.contract.test_events import Stream
from tests.contract.test_metrics import scrape
from tests.guest.test_guest import threads_of
from tests.support.api import refusal
from tests.support.hako import HAKO
from tests.support.hold import thread_held
from tests.support.resident import resident
from tests.support.serve import Server, vm_config

TTY = {"serial": {"mode": "Tty"}}


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as running:
        yield running


@pytest.fixture
def api(server):
    with server.api() as connection:
        yield connection


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An empty 4 MiB image."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4 << 20))
    return path


def state(api) -> str:
    return api.get("vm.info")["state"]


def wait_for_state(api, wanted: str) -> None:
    """The guest's end reaches the API a moment after the guest's last word."""
    for _ in range(600):
        if state(api) == wanted:
            return
        select.select([], [], [], 0.05)
    raise AssertionError(f"the VM is {state(api)}, not {wanted}")


def test_a_vm_goes_through_its_states(api):
    api.put("vm.create", vm_config())
    assert state(api) == "Created"
    api.put("vm.boot")
    assert state(api) == "Running"
    assert refusal(api.put, "vm.boot").status == 500
    assert refusal(api.put, "vm.resume").status == 500
    assert refusal(api.put, "vm.create", vm_config()).status == 500
    api.put("vm.pause")
    assert state(api) == "Paused"
    for name in ("vm.pause", "vm.boot", "vm.power-button"):
        error = refusal(api.put, name)
        assert error.status == 500 and "Paused" in error.chain[-1], name
    api.put("vm.resume")
    assert state(api) == "Running"
    api.put("vm.reboot")
    assert state(api) == "Running"
    api.put("vm.pause")
    api.put("vm.reboot")
    assert state(api) == "Running"
    api.put("vm.shutdown")
    assert state(api) == "Created"
    assert refusal(api.put, "vm.shutdown").status == 500
    assert refusal(api.get, "vm.counters").status == 500
    api.put("vm.boot")
    api.put("vm.delete")
    assert refusal(api.get, "vm.info").status == 404


def test_the_power_button_and_another_boot(server, api):
    api.put("vm.create", vm_config("wait", **TTY))
    for _ in range(3):
        api.put("vm.boot")
        server.wait_for("waiting\n")
        api.put("vm.power-button")
        server.wait_for("PASS: wait\n")
        wait_for_state(api, "Created")
    assert server.terminate() == 0


def test_a_guest_that_reboots_stays(server, api, disk):
    api.put("vm.create", vm_config("reboot-once", disks=[{"path": str(disk)}], **TTY))
    api.put("vm.boot")
    server.wait_for("rebooting\n")
    server.wait_for("PASS: reboot-once\n")
    wait_for_state(api, "Created")


@pytest.mark.parametrize("test", ["panic", "triple-fault", "kvm-error"])
def test_a_bad_end_leaves_the_process_and_a_vm_that_can_boot(server, api, test):
    api.put("vm.create", vm_config(test))
    for _ in range(2):
        api.put("vm.boot")
        wait_for_state(api, "Created")
    api.put("vm.delete")
    api.put("vm.create", vm_config("ports", **TTY))
    api.put("vm.boot")
    server.wait_for("PASS: ports\n")
    assert server.terminate() == 0


@pytest.mark.parametrize("test, happens", [("panic", ["panic"]), ("crash-kernel", ["crash-loaded", "panic"])])
def test_a_panic_is_an_event_and_the_end_of_the_machine(server, api, test, happens):
    with Stream(server) as events:
        api.put("vm.create", vm_config(test))
        for _ in range(2):  # of each life
            api.put("vm.boot")
            seen = []
            while not seen or seen[-1]["event"] != "ended":
                seen.append(events.next())
            assert [each["event"] for each in seen if each["source"] == "guest"] == happens
            assert seen[-1]["properties"] == {"reason": "panic"}
            wait_for_state(api, "Created")


@pytest.mark.parametrize("mode", ["Copy", "OnDemand"])
def test_a_balloon_grows_and_shrinks_and_goes_along_with_a_snapshot(server, api, tmp_path, mode):
    def resize(server: Server, api, size: int) -> None:
        api.put("vm.resize", {"desired_balloon": size})
        server.wait_for("done\n")
        assert api.get("vm.info")["memory_actual_size"] == (64 << 20) - size

    api.put("vm.create", vm_config("balloon", balloon={"size": 0}, **TTY))
    api.put("vm.boot")
    server.wait_for("ready\n")
    for size in (4 << 20, 1 << 20, 6 << 20):
        resize(server, api, size)
    counters = api.get("vm.counters")["__balloon"]
    assert counters["inflated_pages"] == counters["discarded_pages"] == 1024 + 1280 and counters["errors"] == 0
    assert counters["actual_bytes"] == counters["wanted_bytes"] == 6 << 20
    assert scrape(api)['hako_balloon_actual_bytes{device="__balloon"}'] == 6 << 20
    for device in ({"id": "__balloon"}, {"id": "__balloon", "force": True}):
        assert refusal(api.put, "vm.remove-device", device).status == 400
    api.put("vm.pause")
    saved = tmp_path / "saved"
    saved.mkdir()
    api.put("vm.snapshot", {"destination_url": f"file://{saved}"})
    api.put("vm.delete")
    (tmp_path / "next").mkdir()
    with Server(tmp_path / "next") as other, other.api() as there:
        there.put("vm.restore", {"source_url": f"file://{saved}", "memory_restore_mode": mode, "resume": True})
        assert there.get("vm.info")["memory_actual_size"] == 58 << 20
        for size in (0, 2 << 20, 8 << 20, 3 << 20):
            resize(other, there, size)
        assert there.get("vm.counters")["__balloon"]["discarded_pages"] == 512 + 1536
        there.put("vm.resize", {"desired_balloon": 4096})
        other.wait_for("PASS: balloon\n")


@pytest.mark.parametrize("test, code", [("ports", 0), ("reset", None), ("panic", 4), ("triple-fault", 5), ("kvm-error", 6)])
def test_by_its_other_name_hako_ends_with_its_guest(tmp_path, test, code):
    program = tmp_path / "cloud-hypervisor"
    program.symlink_to(HAKO)
    with Server(tmp_path, command=[program]) as server, server.api() as api:
        api.put("vm.create", vm_config(test, **TTY))
        api.put("vm.boot")
        if code is None:  # a reboot is carried out, over and over
            api.put("vm.delete")
            api.put("vmm.shutdown")
            code = 0
        assert server.wait() == code
        assert len(server.stderr().splitlines()) == (1 if code else 0)


def test_by_its_other_name_hako_stays_if_told_to(tmp_path):
    program = tmp_path / "cloud-hypervisor"
    program.symlink_to(HAKO)
    with Server(tmp_path, "--no-shutdown", command=[program]) as server, server.api() as api:
        api.put("vm.create", vm_config("ports", **TTY))
        api.put("vm.boot")
        server.wait_for("PASS: ports\n")
        wait_for_state(api, "Created")
        api.put("vmm.shutdown")
        assert server.wait() == 0


def test_a_disk_comes_and_goes_and_is_told(api, disk):
    api.put("vm.create", vm_config())
    api.put("vm.boot")
    added = api.put("vm.add-disk", {"path": str(disk), "id": "hot"})
    assert added["id"] == "hot" and added["bdf"].startswith("0000:00:"), added
    assert [each["id"] for each in api.get("vm.info")["config"]["disks"]] == ["hot"]
    assert api.get("vm.counters")["hot"]["read_ops"] == 0
    taken = refusal(api.put, "vm.add-disk", {"path": str(disk), "id": "hot"})
    assert taken.status == 409
    assert refusal(api.put, "vm.add-disk", {"path": str(disk)}).status == 400  # the image is in use
    assert refusal(api.put, "vm.add-disk", {"path": str(disk) + ".none"}).status == 400
    assert refusal(api.put, "vm.remove-device", {"id": "cold"}).status == 404
    api.put("vm.remove-device", {"id": "hot"})  # the guest is deaf, and keeps it
    assert len(api.get("vm.info")["config"]["disks"]) == 1
    api.put("vm.remove-device", {"id": "hot", "force": True})
    assert api.get("vm.info")["config"]["disks"] == []
    assert refusal(api.put, "vm.remove-device", {"id": "hot"}).status == 404
    # It is there in the next life, too.
    api.put("vm.add-disk", {"path": str(disk), "id": "again"})
    api.put("vm.reboot")
    assert [each["id"] for each in api.get("vm.info")["config"]["disks"]] == ["again"]
    api.put("vm.shutdown")
    api.put("vm.remove-device", {"id": "again"})
    assert api.get("vm.info")["config"]["disks"] == []


def test_taps_serve_every_life_of_a_vm(api):
    ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    api.put("vm.create", vm_config())
    api.put("vm.add-net", {"id": "cold"}, fds=[ends[0][1].fileno()])
    api.put("vm.boot")
    assert api.put("vm.add-net", {"id": "hot"}, fds=[ends[1][1].fileno()])["id"] == "hot"
    for _, theirs in ends:
        theirs.close()
    for _ in range(2):
        api.put("vm.shutdown")
        api.put("vm.boot")
        assert [net["id"] for net in api.get("vm.info")["config"]["net"]] == ["cold", "hot"]
        assert set(api.get("vm.counters")) == {"cold", "hot"}
    for ours, _ in ends:
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    api.put("vm.remove-device", {"id": "hot", "force": True})
    assert ends[1][0].recv(1) == b""
    api.put("vm.delete")
    assert ends[0][0].recv(1) == b""
    for ours, _ in ends:
        ours.close()


def test_a_disk_grows(api, disk, tmp_path):
    locked = tmp_path / "locked.img"
    locked.write_bytes(bytes(1 << 20))
    api.put("vm.create", vm_config(disks=[{"path": str(disk)}, {"path": str(locked), "readonly": True}]))
    api.put("vm.boot")
    api.put("vm.resize-disk", {"id": "_disk0", "desired_size": 8 << 20})
    assert disk.stat().st_size == 8 << 20
    for body, status in (({"id": "_disk0", "desired_size": 4 << 20}, 400), ({"id": "_disk0", "desired_size": 8388609}, 400),
                         ({"id": "_disk0", "desired_size": 1 << 63}, 400), ({"id": "_disk1", "desired_size": 2 << 20}, 400),
                         ({"id": "_disk2", "desired_size": 2 << 20}, 404), ({"id": "__rng", "desired_size": 2 << 20}, 400)):
        assert refusal(api.put, "vm.resize-disk", body).status == status, body
    assert disk.stat().st_size == 8 << 20


def test_debuggers_open_a_core_dump(api, tmp_path):
    core = tmp_path / "core"
    api.put("vm.create", vm_config(cpus={"boot_vcpus": 2, "max_vcpus": 2}))
    api.put("vm.boot")
    api.put("vm.coredump", {"destination_url": f"file://{core}"})
    assert state(api) == "Running"
    error = refusal(api.put, "vm.coredump", {"destination_url": f"file://{core}"})
    assert error.status == 400 and str(core) in str(error)
    api.put("vm.pause")
    api.put("vm.coredump", {"destination_url": f"file://{core}2"})
    assert state(api) == "Paused"
    notes = subprocess.run(["readelf", "--notes", core], capture_output=True, text=True, check=True).stdout
    assert notes.count("NT_PRSTATUS") == 2
    segments = subprocess.run(["readelf", "--segments", "--wide", core], capture_output=True, text=True, check=True).stdout
    assert f"0x{64 << 20:07x} 0x{64 << 20:07x}" in segments
    # The kernel lies where it was loaded: at 1 MiB and up.
    memory = core.read_bytes()[-(64 << 20):]
    assert memory[0x100000:0x100000 + 4096].strip(b"\0")


def test_a_non_maskable_interrupt_reaches_the_guest(server, api):
    # The guest has no handler for one: it faults until the machine gives up.
    api.put("vm.create", vm_config("deaf", **TTY))
    api.put("vm.boot")
    server.wait_for("deaf\n")
    api.put("vm.nmi")
    wait_for_state(api, "Created")


def test_a_hundred_lives_leave_nothing(server, api, disk):
    config = vm_config("wait", disks=[{"path": str(disk)}], **TTY)

    def life() -> None:
        api.put("vm.create", config)
        api.put("vm.boot")
        server.wait_for("waiting\n")
        api.put("vm.pause")
        api.put("vm.resume")
        api.put("vm.power-button")
        wait_for_state(api, "Created")
        api.put("vm.boot")
        api.put("vm.reboot")
        api.put("vm.shutdown")
        api.put("vm.delete")

    for _ in range(5):
        life()
    before = (server.fds(), threads_of(server.pid))
    memory = resident(server.pid)
    for _ in range(95):
        life()
    assert (server.fds(), threads_of(server.pid)) == before
    after = resident(server.pid)
    assert after.guest == memory.guest == 0
    assert after.other < memory.other + (2 << 20)
    assert sorted(path.name for path in server.folder.iterdir()) == ["api.sock", "disk.img", "stderr"]


def test_a_configuration_file_is_a_vm(tmp_path, disk):
    file = tmp_path / "vm.json"
    file.write_text(json.dumps(vm_config("block", disks=[{"path": str(disk), "serial": "abc-123"}], **TTY)))
    result = subprocess.run([HAKO, "run", "--config", file], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 0, result
    assert "serial abc-123\n" in result.stdout
    assert "PASS: block\n" in result.stdout


def test_metrics_of_a_machine(server, api, disk):
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    api.put("vm.create", vm_config("block", disks=[{"path": str(disk), "id": "data", "serial": "abc-123"}],
                                   cpus={"boot_vcpus": 2, "max_vcpus": 2}, **TTY))
    api.put("vm.add-net", {"id": "lan"}, fds=[theirs.fileno()])
    before = scrape(api)
    assert not any("vcpu" in name for name in before)
    api.put("vm.boot")
    server.wait_for("serial abc-123\n")
    samples = scrape(api)
    if "hako_guest_memory_bytes" in samples:  # the guest may be done by now
        assert samples["hako_guest_memory_bytes"] == 64 << 20
        # Each byte of that line was one.
        assert samples['hako_vcpu_exits_total{vcpu="0",reason="io"}'] >= len("serial abc-123\n")
        assert samples['hako_vcpu_cpu_seconds_total{vcpu="0"}'] > 0
        assert 'hako_vcpu_cpu_seconds_total{vcpu="1"}' in samples
        assert samples['hako_block_reads_total{device="data",queue="0"}'] >= 1
        assert samples['hako_block_request_duration_seconds_count{device="data",queue="0"}'] >= 1
        assert samples['hako_net_packets_total{device="lan",queue="0",kind="rx"}'] == 0
    theirs.close()
    ours.close()


def test_what_only_asks_is_answered_while_the_vm_is_worked_on(server, api, disk):
    api.put("vm.create", vm_config("deaf", disks=[{"path": str(disk), "id": "d0"}]))
    api.put("vm.boot")
    with server.api() as other:
        with thread_held(server.pid):
            other.send("PUT", "/api/v1/vm.pause")
            for _ in range(3):
                assert api.get("vmm.ping")["pid"] == server.pid
                assert api.get("vm.info")["state"] == "Running"
                assert "d0" in api.get("vm.counters")
                assert b'hako_block_reads_total{device="d0",queue="0"}' in api.ask("GET", "/metrics").body
                assert b"booted" in api.ask("GET", "/api/v1/events?since=0&follow=false").body
            assert not select.select([other.socket], [], [], 0)[0]
        assert other.response().status == 204
    assert state(api) == "Paused"


def test_events_of_a_life(server, api, disk):
    api.put("vm.create", vm_config("wait", **TTY))
    api.put("vm.boot")
    server.wait_for("waiting\n")
    api.put("vm.pause")
    api.put("vm.resume")
    api.put("vm.add-disk", {"path": str(disk), "id": "d"})
    api.put("vm.remove-device", {"id": "d", "force": True})
    api.put("vm.reboot")
    server.wait_for("waiting\n")
    api.put("vm.power-button")
    wait_for_state(api, "Created")
    api.put("vm.delete")
    answer = api.ask("GET", "/api/v1/events?since=0&follow=false")
    events = [json.loads(line) for line in answer.body.splitlines()]
    assert [event["event"] for event in events] == [
        "starting", "created", "booting", "booted", "paused", "resumed", "device-added", "device-removed", "rebooting",
        "rebooted", "ended", "shutdown", "deleted"]
    assert events[6]["properties"] == {"id": "d"}
    assert events[10]["properties"] == {"reason": "power-off"}
