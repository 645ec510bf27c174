"""Clients that write in pieces, are slow, leave early, or are many."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.api import Api
from tests.support.serve import vm_config


def pieces_of_api_client(name: str, body: bytes) -> list[bytes]:
    """A PUT as Cloud Hypervisor's own client writes it (ch-remote, Kata's runtime-rs): five writes."""
    return [f"PUT /api/v1/{name} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n".encode(),
            f"Content-Length: {len(body)}\r\n".encode(), b"\r\n", body[:1], body[1:]]


def open_files(server) -> list[str]:
    """What the server has open but for connections, which the kernel may take a moment to take apart."""
    return [name for name in server.fds() if not name.startswith("socket:")]


def test_a_request_in_pieces_with_descriptors_in_front(server, api):
    api.put("vm.create", vm_config())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first, *rest = pieces_of_api_client("vm.add-net", json.dumps({"id": "net_0", "mac": "02:00:5e:10:00:01"}).encode())
    with ours, server.api() as other:
        socket.send_fds(other.socket, [first], [theirs.fileno()])
        theirs.close()
        for piece in rest:
            other.socket.sendall(piece)
        assert other.response().status == 204
        # hako holds the other end as long as the interface is there.
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        api.put("vm.remove-device", {"id": "net_0"})
        assert ours.recv(1) == b""


def test_a_request_byte_by_byte(api):
    body = json.dumps(vm_config()).encode()
    for piece in pieces_of_api_client("vm.create", body):
        for i in range(len(piece)):
            api.socket.sendall(piece[i:i + 1])
    assert api.response().status == 204


def test_many_requests_in_one_write(api):
    request = b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
    api.socket.sendall(request * 100)
    for _ in range(100):
        assert api.response().status == 200


def test_headers_are_as_clients_look_for_them(api):
    api.send("GET", "/api/v1/vmm.ping")
    text = api.socket.recv(65536)
    # libvirt reads once, and wants it all there.
    head, _, body = text.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    assert b"\r\nConnection: keep-alive" in head
    api.send("PUT", "/api/v1/vm.delete")
    text = api.socket.recv(65536)
    assert text.startswith(b"HTTP/1.1 204 No Content\r\n") and text.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in text


def test_expect_100_continue(api):
    body = json.dumps(vm_config()).encode()
    api.socket.sendall(f"PUT /api/v1/vm.create HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: "
                       f"{len(body)}\r\n\r\n".encode())
    assert api.response().status == 100
    api.socket.sendall(body)
    assert api.response().status == 204


def test_a_client_that_has_said_all_gets_its_answer(server):
    with server.api() as api:
        api.send("GET", "/api/v1/vmm.ping")
        api.socket.shutdown(socket.SHUT_WR)
        assert api.response().status == 200
    with server.api() as api:
        api.socket.sendall(b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        api.socket.shutdown(socket.SHUT_WR)
        assert api.response().status == 400
    with server.api() as api:
        api.socket.shutdown(socket.SHUT_WR)
        assert api.socket.recv(1) == b""


def test_clients_that_leave_in_mid_request_change_nothing(server, api):
    api.get("vmm.ping")
    before = open_files(server)
    read_end, write_end = os.pipe()
    request = pieces_of_api_client("vm.create", json.dumps(vm_config()).encode())
    for cut in range(len(request)):
        with server.api() as leaver:
            socket.send_fds(leaver.socket, [request[0]], [write_end])
            for piece in request[1:cut]:
                leaver.socket.sendall(piece)
    os.close(write_end)
    # Nobody has the pipe open any more: hako has closed what came with requests that never were.
    assert os.read(read_end, 1) == b""
    os.close(read_end)
    assert api.ask("GET", "/api/v1/vm.info").status == 404
    assert open_files(server) == before


def test_a_client_that_is_killed_in_mid_request_changes_nothing(server, api):
    script = f"""
import socket, sys, time
client = socket.socket(socket.AF_UNIX)
client.connect({str(server.socket)!r})
client.sendall(b"PUT /api/v1/vm.create HTTP/1.1\\r\\nContent-Length: 1000\\r\\n\\r\\n" + b'{{"payload":')
print("sent", flush=True)
time.sleep(1000)
"""
    client = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert client.stdout.readline() == b"sent\n"
    client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdout.close()
    assert api.get("vmm.ping")
    assert api.ask("GET", "/api/v1/vm.info").status == 404
    api.put("vm.create", vm_config())


def test_two_hundred_clients_at_once(server):
    first = server.api()
    first.get("vmm.ping")
    before = open_files(server)
    clients = [server.api() for _ in range(200)]
    for client in clients:
        client.send("GET", "/api/v1/vmm.ping")
    assert sum(client.response().status == 200 for client in clients) == 200
    for client in clients[::2]:
        client.close()
    for client in clients[1::2]:
        assert client.get("vmm.ping")
        client.close()
    with first:
        first.put("vm.create", vm_config())
        assert first.get("vm.info")["state"] == "Created"
        first.put("vm.delete")
        assert open_files(server) == before


def test_slow_clients_do_not_hold_up_others(server, api):
    slow = [server.api() for _ in range(20)]
    for client in slow:
        client.socket.sendall(b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Le")
    api.put("vm.create", vm_config())
    assert api.get("vm.info")["state"] == "Created"
    for client in slow:
        client.socket.sendall(b"ngth: 2\r\n\r\n{}")
        assert client.response().status == 400  # there is no payload
        client.close()


def test_descriptors_that_nobody_wants_are_closed(server, api):
    api.put("vm.create", vm_config())
    read_end, write_end = os.pipe()
    for name, body in {"vm.boot": b"{}", "vm.remove-device": b'{"id":"x"}', "vm.add-disk": b'{"path":"/x"}',
                       "vm.create": json.dumps(vm_config()).encode(), "vm.none": b"{}",
                       "vm.add-net": b'{"num_queues":6}', "vm.resize": b"{}"}.items():
        api.ask("PUT", f"/api/v1/{name}", body, [write_end] * 5)
    api.ask("GET", "/api/v1/vmm.ping", fds=[write_end] * 200)
    os.close(write_end)
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_the_number_of_taps_is_the_number_of_queue_pairs(api):
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    fds = [theirs.fileno() for _, theirs in pairs]
    api.put("vm.create", vm_config())
    for queues, count in ((2, 2), (4, 1), (2, 3), (6, 2)):
        answer = api.ask("PUT", "/api/v1/vm.add-net", json.dumps({"num_queues": queues}).encode(), fds[:count])
        assert answer.status == 400
        assert "num_queues" in answer.json()[-1]
    assert api.ask("PUT", "/api/v1/vm.add-net", b'{"num_queues":6}', fds).status == 204
    net = api.get("vm.info")["config"]["net"]
    assert len(net) == 1 and net[0]["num_queues"] == 6 and net[0]["id"] == "_net0"
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_requests_of_several_clients_are_answered_in_any_order(server):
    with server.api() as one, server.api() as two:
        one.socket.sendall(b"PUT /api/v1/vm.create HTTP/1.1\r\n")
        two.put("vm.create", vm_config("ports"))
        body = json.dumps(vm_config("smp")).encode()
        one.socket.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert one.response().status == 500
        assert two.get("vm.info")["config"]["payload"]["cmdline"] == "test=ports"
