"""Machines that write all the time and move to another process meanwhile. Runs on any KVM."""

import contextlib
import json
import signal
import subprocess
import time

import pytest

from tests.contract.test_events import kept
from tests.support.api import ApiError, refusal
from tests.support.resident import resident
from tests.support.serve import Server, vm_config

TTY = {"serial": {"mode": "Tty"}}


@pytest.fixture
def server(tmp_path):
    """Makes servers, each in a folder of its own."""
    with contextlib.ExitStack() as stack:
        count = 0

        def make(*arguments) -> Server:
            nonlocal count
            folder = tmp_path / f"server{count}"
            count += 1
            folder.mkdir()
            return stack.enter_context(Server(folder, *arguments))

        yield make


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4 << 20))
    return path


def goes_on(server, rounds: int = 3) -> None:
    """A guest that finds its memory changed panics, and says no more rounds."""
    server.console.skip()
    for _ in range(rounds):
        server.wait_for("round ")


def boot(server, **fields) -> None:
    with server.api() as api:
        api.put("vm.create", vm_config("dirty", **TTY, **fields))
        api.put("vm.boot")
    goes_on(server, 1)


def receive(server, url: str, fds: list[int] | None = None, **fields):
    """A connection on which the answer will come, once the server listens."""
    ready = "migration-receive-ready"
    with server.api() as other:
        # Not counted: of all that ever happened only the last is kept.
        last = max((event["sequence"] for event in kept(other)), default=0)
        api = server.api(timeout=120)
        api.send("PUT", "/api/v1/vm.receive-migration", json.dumps({"receiver_url": url, **fields}).encode(), fds)
        poll(lambda: any(event["event"] == ready for event in kept(other, f"since={last}&follow=false")), "it does not listen")
    return api


def poll(look, what: str, pause: float = 0.02):
    """What `look` gives, once that is something; it is asked each `pause` seconds, for a minute at least."""
    for _ in range(round(60 / pause)):
        if found := look():
            return found
        time.sleep(pause)
    raise AssertionError(what)


def wait_for_event(api, name: str, count: int = 1) -> list[dict]:
    def look() -> list[dict] | None:
        events = [event for event in kept(api) if event["event"] == name]
        return events if len(events) >= count else None

    return poll(look, f"no event {name}")


def wait_for_end(api) -> dict:
    """The progress of a migration that is over."""
    def look() -> dict | None:
        progress = api.get("vm.migration-progress")
        return progress if progress["status"] != "ongoing" else None

    return poll(look, "the migration does not end")


def wait_for_no_vm(api) -> None:
    """A VM that has moved is gone from its process, which stays."""
    poll(lambda: api.ask("GET", "/api/v1/vm.info").status == 404, "the VM is still there")


def url_of(server) -> str:
    return f"unix:{server.folder}/migration.sock"


def move(source, destination, **fields) -> dict:
    answer = receive(destination, url_of(destination))
    with source.api() as api:
        assert api.put("vm.send-migration", {"destination_url": url_of(destination), **fields}) is None
        progress = wait_for_end(api)
        assert progress["status"] == "finished", json.dumps(progress)
        wait_for_no_vm(api)
    with answer:
        assert answer.response().status == 204
    return progress


@pytest.mark.parametrize("fields", [{}, {"local": True}], ids=["unix", "local"])
def test_a_vm_moves(server, disk, fields):
    source, destination = server(), server()
    boot(source, disks=[{"path": str(disk)}])
    progress = move(source, destination, **fields)
    assert progress["downtime_us"] > 0
    goes_on(destination, 5)
    with destination.api() as api:
        assert api.get("vm.info")["state"] == "Running"
        assert api.get("vm.info")["config"]["disks"][0]["path"] == str(disk)
        api.put("vm.pause")
        api.put("vm.resume")
        goes_on(destination)


def test_over_tcp_with_many_connections(server):
    source, destination = server(), server()
    boot(source)
    answer = receive(destination, "tcp:127.0.0.1:47611")
    with source.api() as api:
        api.put("vm.send-migration", {"destination_url": "tcp:127.0.0.1:47611", "connections": 4})
        assert wait_for_end(api)["status"] == "finished"
    with answer:
        assert answer.response().status == 204
    goes_on(destination, 5)


@pytest.mark.parametrize("mode", ["classic", "manual", "initially-set", "ring"])
def test_with_each_dirty_log_of_kvms(server, disk, mode):
    """Over several rounds, if the guest gets to write meanwhile; what it says tells whether a page was missed."""
    a, b = (server("-v", "--dirty-log", mode) for _ in range(2))
    boot(a, disks=[{"path": str(disk)}])
    for source, destination in ((a, b), (b, a), (a, b)):
        with receive(destination, url_of(destination)) as answer, source.api() as api:
            api.put("vm.send-migration", {"destination_url": url_of(destination), "bandwidth": 20 << 20, "downtime_ms": 1})
            poll(lambda: (now := api.get("vm.migration-progress"))["status"] != "ongoing"
                 or now["memory_transmission_info"]["memory_iteration"] >= 3, "the first rounds do not end")
            with contextlib.suppress(ApiError):
                api.put("vm.migration-bandwidth", {"bandwidth": 0})
            assert answer.response().status == 204
            wait_for_no_vm(api)
        goes_on(destination)
        if f"dirty log: {mode}\n" not in source.stderr():
            pytest.skip(f"this host's KVM has no such log: {source.stderr()}")


def certificates(folder, address: str = "127.0.0.1") -> str:
    """A CA, and what it signed for either side of a migration to that address."""

    def openssl(*words) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2, "-subj",
            "/CN=test CA", "-keyout", "ca-key.pem", "-out", "ca-cert.pem")
    for side in ("server", "client"):
        (folder / "extensions").write_text(f"subjectAltName=IP:{address}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={side}",
                "-keyout", f"{side}-key.pem", "-out", f"{side}.csr")
        openssl("x509", "-req", "-in", f"{side}.csr", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-days", 2,
                "-extfile", "extensions", "-out", f"{side}-cert.pem")
    return str(folder)


def test_over_tls(server, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        certificates(folder)
    url = "tcp:127.0.0.1:47612"
    source, destination = server(), server()
    boot(source)
    for client, works in [(theirs, False), (ours, True)]:
        with receive(destination, url, tls_dir=str(ours)) as answer, source.api() as api:
            api.put("vm.send-migration", {"destination_url": url, "connections": 2, "tls_dir": str(client)})
            assert (wait_for_end(api)["status"] == "finished") == works
            if not works:
                with destination.api() as other:
                    other.put("vm.cancel-migration")
            assert answer.response().status == (204 if works else 500)
        goes_on(destination if works else source)


def test_there_and_back_many_times(server, disk):
    a, b = server(), server()
    boot(a, disks=[{"path": str(disk)}])
    for _ in range(10):
        move(a, b)
        goes_on(b, 1)
        move(b, a)
        goes_on(a, 1)


def test_a_paused_vm_stays_paused(server):
    source, destination = server(), server()
    boot(source)
    with source.api() as api:
        api.put("vm.pause")
    move(source, destination)
    with destination.api() as api:
        assert api.get("vm.info")["state"] == "Paused"
        api.put("vm.resume")
    goes_on(destination)


def test_nobody_listens(server, tmp_path):
    source = server()
    boot(source)
    with source.api() as api:
        api.put("vm.send-migration", {"destination_url": f"unix:{tmp_path}/nobody.sock"})
        progress = wait_for_end(api)
        assert progress["status"] == "failed" and progress["error"], progress
        wait_for_event(api, "migration-failed")
        assert api.get("vm.info")["state"] == "Running"
    goes_on(source)


def slow(source, destination) -> None:
    """A migration that takes a while."""
    with source.api() as api:
        api.put("vm.send-migration", {"destination_url": url_of(destination), "bandwidth": 1 << 20})
        wait_for_event(api, "migration-step", 3)


def test_a_migration_is_cancelled_and_repeated(server, disk):
    source, destination = server(), server()
    boot(source, disks=[{"path": str(disk)}])
    with receive(destination, url_of(destination)) as answer:
        slow(source, destination)
        with source.api() as api:
            # All else waits, and is told why; what only asks is answered.
            assert refusal(api.put, "vm.pause").status == 409
            assert api.get("vm.info")["state"] == "Running"
            assert api.get("vm.migration-progress")["status"] == "ongoing"
            api.put("vm.cancel-migration")
            assert wait_for_end(api)["status"] == "cancelled"
            wait_for_event(api, "migration-failed")
        assert answer.response().status == 500
    goes_on(source)
    with destination.api() as api:
        wait_for_event(api, "migration-receive-failed")
        assert refusal(api.get, "vm.info").status == 404
    move(source, destination)
    goes_on(destination)


def test_the_destination_cancels(server):
    source, destination = server(), server()
    boot(source)
    with receive(destination, url_of(destination)) as answer, destination.api() as api:
        slow(source, destination)
        api.put("vm.cancel-migration")
        assert answer.response().status == 500
    with source.api() as api:
        assert wait_for_end(api)["status"] == "failed"
    goes_on(source)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_destination_dies(server, disk, how):
    source, destination = server(), server()
    boot(source, disks=[{"path": str(disk)}])
    with receive(destination, url_of(destination)):
        slow(source, destination)
        destination.process.send_signal(how)
        destination.wait()
    with source.api() as api:
        assert wait_for_end(api)["status"] == "failed"
        wait_for_event(api, "migration-failed")
    goes_on(source)
    # Its images are its own again.
    other = server()
    with other.api() as api:
        api.put("vm.create", vm_config("deaf", disks=[{"path": str(disk)}]))
        assert "in use" in " ".join(refusal(api.put, "vm.boot").chain)
    move(source, server())


def test_the_source_dies(server, disk):
    source, destination = server(), server()
    boot(source, disks=[{"path": str(disk)}])
    with receive(destination, url_of(destination)) as answer:
        slow(source, destination)
        source.process.kill()
        source.wait()
        assert answer.response().status == 500
    with destination.api() as api:
        assert refusal(api.get, "vm.info").status == 404
        api.put("vm.create", vm_config("deaf", disks=[{"path": str(disk)}]))
        api.put("vm.boot")


def test_a_guest_that_ends_meanwhile_ends_at_the_source(server):
    source, destination = server(), server()
    with source.api() as api:
        api.put("vm.create", vm_config("wait", **TTY))
        api.put("vm.boot")
        with receive(destination, url_of(destination)) as answer:
            api.put("vm.send-migration", {"destination_url": url_of(destination), "bandwidth": 1 << 16})
            wait_for_event(api, "migration-step", 3)
            api.put("vm.cancel-migration")
            wait_for_end(api)
            assert answer.response().status == 500
        api.put("vm.power-button")
        wait_for_event(api, "ended")


def test_what_cannot_be_sent(server):
    source = server()
    with source.api() as api:
        assert refusal(api.put, "vm.send-migration", {"destination_url": "unix:/x"}).status == 404
        api.put("vm.create", vm_config("dirty", **TTY))
        assert refusal(api.put, "vm.send-migration", {"destination_url": "unix:/x"}).status == 500
        api.put("vm.boot")
        for body, word in [({"destination_url": "nowhere"}, "destination_url"),
                           ({"destination_url": "unix:/x", "memory_mode": "Later"}, "memory_mode"),
                           ({"destination_url": "tcp:127.0.0.1:1", "tls_dir": "/x"}, "tls_dir"),
                           ({"destination_url": "unix:/x", "connections": 0}, "connections"),
                           ({}, "destination_url")]:
            error = refusal(api.put, "vm.send-migration", body)
            assert error.status == 400 and word in " ".join(error.chain), error.chain
        assert refusal(api.put, "vm.cancel-migration").status == 409
        assert refusal(api.get, "vm.migration-progress").status == 404
        assert refusal(api.put, "vm.receive-migration", {"receiver_url": "unix:/x"}).status == 500
    goes_on(source)


def test_memory_that_holds_nothing_costs_nothing(server):
    """1 GiB of it, which the guest has hardly touched."""
    source, destination = server(), server()
    with source.api() as api:
        api.put("vm.create", vm_config("dirty", **TTY) | {"memory": {"size": 1 << 30}})
        api.put("vm.boot")
        goes_on(source, 1)
        api.put("vm.pause")
    memory = move(source, destination)["memory_transmission_info"]
    assert memory["memory_bytes_total"] == 1 << 30 and memory["memory_bytes_transmitted"] < 16 << 20, memory
    assert resident(destination.pid).guest < 64 << 20
