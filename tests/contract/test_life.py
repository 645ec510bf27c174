"""A VM's life up to its boot, and the process's own."""

import signal
import subprocess
import time

import pytest

from tests.support.api import Api, refusal
from tests.support.hako import HAKO
from tests.support.serve import Server, vm_config

#: PUT calls without a body that need a VM.
ACTIONS = ["vm.boot", "vm.pause", "vm.resume", "vm.shutdown", "vm.reboot", "vm.power-button", "vm.nmi", "vm.announce"]
#: PUT calls with a body that need a VM, and such a body.
CHANGES = {
    "vm.add-disk": {"path": "/nowhere"},
    "vm.add-net": {"tap": "nowhere"},
    "vm.remove-device": {"id": "x"},
    "vm.resize-disk": {"id": "x", "desired_size": 1 << 20},
    "vm.resize": {"desired_vcpus": 1},
    "vm.resize-zone": {"id": "x", "desired_ram": 1 << 30},
    "vm.coredump": {"destination_url": "file:///nowhere/core"},
    "vm.eject-helper": {"id": "x"},
    "vm.update-helper": {"id": "x", "files": {}},
    "vm.set-link": {"id": "x", "up": True},
    "vm.set-limits": {"id": "x", "rate_limiter_config": {}},
}


def test_ping_tells_who_answers(server, api):
    ping = api.get("vmm.ping")
    assert ping["pid"] == server.pid
    assert ping["features"] == ["io_uring", "kvm"]
    assert ping["build_version"] and ping["version"]


def test_without_a_vm_calls_are_404_and_a_deletion_is_done(api):
    for name in ("vm.info", "vm.counters"):
        assert refusal(api.get, name).status == 404
    for name in ACTIONS:
        error = refusal(api.put, name)
        assert error.status == 404, name
        assert error.chain[0] == "Error from API"
    for name, body in CHANGES.items():
        assert refusal(api.put, name, body).status == 404, name
    assert api.put("vm.delete") is None


def test_a_vm_is_created_described_and_deleted(api):
    for _ in range(3):
        assert api.put("vm.create", vm_config()) is None
        info = api.get("vm.info")
        assert info["state"] == "Created"
        assert info["memory_actual_size"] == 64 << 20
        assert info["config"]["payload"]["cmdline"] == "test=deaf"
        assert info["config"]["cpus"]["boot_vcpus"] == 1
        assert info["config"]["cpus"]["max_phys_bits"] == 46
        assert info["config"]["serial"]["mode"] == "Off"
        assert info["config"]["console"]["mode"] == "Off"
        assert api.put("vm.delete") is None
        assert refusal(api.get, "vm.info").status == 404


def test_a_second_vm_is_500_and_leaves_the_first(api):
    api.put("vm.create", vm_config("ports"))
    error = refusal(api.put, "vm.create", vm_config("smp"))
    assert error.status == 500
    assert error.chain[:2] == ["Error from API", "The VM could not be created"]
    assert api.get("vm.info")["config"]["payload"]["cmdline"] == "test=ports"


def test_what_needs_a_machine_is_500_before_the_boot(api):
    api.put("vm.create", vm_config())
    assert refusal(api.get, "vm.counters").status == 500
    for name in ACTIONS:
        if name != "vm.boot":
            assert refusal(api.put, name).status == 500, name
    for name in ("vm.resize-disk", "vm.coredump", "vm.set-link", "vm.set-limits"):
        assert refusal(api.put, name, CHANGES[name]).status == 500, name
    assert api.get("vm.info")["state"] == "Created"


def test_a_boot_that_fails_is_500_and_says_why(api, tmp_path):
    api.put("vm.create", {**vm_config(), "payload": {"kernel": str(tmp_path / "no-kernel")}})
    error = refusal(api.put, "vm.boot")
    assert error.status == 500
    assert error.chain[:2] == ["Error from API", "The VM could not boot"]
    assert "no-kernel" in str(error)
    assert api.get("vm.info")["state"] == "Created"
    api.put("vm.delete")


@pytest.mark.parametrize("name, body", [
    ("vm.add-device", {"path": "/x"}), ("vm.add-user-device", {}), ("vm.add-generic-vhost-user", {}),
    ("vm.add-pmem", {}), ("vm.add-vdpa", {}),
])
def test_what_hako_does_not_have_yet_is_501(api, name, body):
    error = refusal(api.put, name, body)
    assert error.status == 501
    assert error.chain[0] == "Error from API" and len(error.chain) == 3
    assert refusal(api.put, name, [body]).status == 400
    assert refusal(api.put, name).status == 400


def test_vmm_shutdown_answers_200_without_a_body_and_ends_the_process(server, api):
    api.put("vm.create", vm_config())
    answer = api.ask("PUT", "/api/v1/vmm.shutdown")
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"")
    assert answer.headers["Content-Length"] == "0"
    assert server.wait() == 0
    assert server.stderr() == ""


def test_vmm_shutdown_ends_the_process_though_the_client_does_not_wait(server):
    api = server.api()
    api.send("PUT", "/api/v1/vmm.shutdown")
    api.close()
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_process(server, api, number):
    api.put("vm.create", vm_config())
    server.process.send_signal(number)
    assert server.wait() == 0
    assert server.stderr() == ""


def test_a_socket_that_hako_makes_goes_with_it(tmp_path):
    path = tmp_path / "made.sock"
    process = subprocess.Popen([HAKO, "serve", "--api-socket", path])
    try:
        # As Kata does it: try to connect until somebody answers.
        deadline = time.monotonic() + 30
        while True:
            try:
                api = Api(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert process.poll() is None and time.monotonic() < deadline
        assert path.stat().st_mode & 0o777 == 0o600
        taken = subprocess.run([HAKO, "serve", "--api-socket", path], capture_output=True, text=True, timeout=30)
        assert taken.returncode == 2
        assert "another process serves it" in taken.stderr and len(taken.stderr.splitlines()) == 1
        with api:
            api.put("vmm.shutdown")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []


def test_the_next_process_takes_over_what_a_killed_one_left(tmp_path):
    path = tmp_path / "left.sock"
    for ending in ("kill", "vmm.shutdown"):
        process = subprocess.Popen([HAKO, "serve", "--api-socket", path])
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    with Api(path) as api:
                        assert api.get("vmm.ping")["pid"] == process.pid
                        if ending == "vmm.shutdown":
                            api.put(ending)
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    assert process.poll() is None and time.monotonic() < deadline
        finally:
            process.kill() if ending == "kill" else None
            process.wait(30)
    assert not path.exists()


def test_serve_needs_a_socket_that_listens(tmp_path):
    with open(tmp_path / "file", "w") as file:
        result = subprocess.run([HAKO, "serve", "--api-socket", f"fd={file.fileno()}"], capture_output=True, text=True,
                                pass_fds=[file.fileno()], timeout=30)
    assert result.returncode == 2
    assert "no unix stream socket that listens" in result.stderr


def test_the_api_stays_up_while_vms_come_and_go(server, api):
    api.put("vm.create", vm_config())
    api.put("vm.delete")
    before = server.fds()
    for _ in range(50):
        api.put("vm.create", vm_config(serial={"mode": "Pty"}))
        assert api.get("vm.info")["config"]["serial"]["file"].startswith("/dev/pts/")
        api.put("vm.delete")
    assert server.fds() == before
