"""virtio-vsock from stock Debian guests: an agent in the guest, and this test as the programs of the host."""

import hashlib
import os
import select
import socket
import threading
import time
from pathlib import Path

from tests.guest.test_migration import receive, wait_for_end, wait_for_no_vm
from tests.lab.conftest import assert_passed
from tests.lab.test_hotplug import resources
from tests.lab.test_moves import config, server  # noqa: F401
from tests.support.api import Api

SOCKET = Path("/run/hako-api.sock")
PORT = 1024
MIB = 1 << 20
#: Of each way. In the emulated lab a gigabyte takes minutes.
STREAM = int(os.environ.get("LAB_VSOCK_MIB", "256")) * MIB

#: Each connection to PORT begins with a line: what the agent shall do.
AGENT = f"""
cat >/run/agent.py <<'END'
import hashlib, os, socket, sys, threading

block = os.urandom(1 << 20)

def send(peer, count):
    total = hashlib.md5()
    while count > 0:
        piece = block[:count]
        peer.sendall(piece)
        total.update(piece)
        count -= len(piece)
    return total.hexdigest()

def receive(peer, count=None):
    total, got = hashlib.md5(), 0
    while count is None or got < count:
        data = peer.recv(1 << 16 if count is None else min(1 << 16, count - got))
        if not data:
            break
        total.update(data)
        got += len(data)
    return total.hexdigest()

def serve(peer):
    with peer:
        line = b""
        while not line.endswith(b"\\n"):
            line += peer.recv(1)
        what, *words = line.decode().split()
        if what == "sink":
            peer.sendall(receive(peer, int(words[0])).encode())
        elif what == "source":
            peer.sendall(send(peer, int(words[0])).encode())
        elif what == "until-end":
            peer.sendall(receive(peer).encode())
        elif what == "end-first":
            peer.sendall(b"last words")
            peer.shutdown(socket.SHUT_WR)
            print("HEARD", receive(peer), flush=True)
        elif what == "echo":
            try:
                while data := peer.recv(4096):
                    peer.sendall(data)
                print("ENDED", flush=True)
            except OSError as error:
                print("LOST", error.errno, flush=True)
        elif what == "flood":
            peer.settimeout(2)
            sent = 0
            try:
                while True:
                    sent += peer.send(block[:65536])
            except TimeoutError:
                print("STOPPED after", sent, flush=True)
        elif what == "dial":
            with socket.socket(socket.AF_VSOCK) as host:
                try:
                    host.connect((2, int(words[0])))
                except OSError as error:
                    peer.sendall(str(error.errno).encode())
                    return
                host.sendall(b"from " + words[0].encode() + b"\\n")
                peer.sendall(host.recv(100))
        elif what == "quit":
            os._exit(0)

listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, {PORT}))
listener.listen(200)
print("tick 1", flush=True)
print("AGENT READY", *sys.argv[1:], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
END
until [ -c /dev/vsock ]; do sleep 0.05; done
python3 /run/agent.py || exit 20
"""
END = """
dmesg --level=emerg,alert,crit,err | grep . && exit 30
exit 0
"""


def dial(path: Path, port: int = PORT) -> socket.socket:
    """A connection to a port of the guest; its end at once where nobody listens."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(240)
    peer.connect(str(path))
    peer.sendall(f"CONNECT {port}\n".encode())
    answer = line(peer)
    if not answer:
        peer.close()
        raise ConnectionRefusedError
    assert answer.startswith("OK "), answer
    return peer


def line(peer: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n"):
        byte = peer.recv(1)
        if not byte:
            break
        text += byte
    return text.decode()


def ask(path: Path, request: str) -> socket.socket:
    peer = dial(path)
    peer.sendall(request.encode() + b"\n")
    return peer


def rest(peer: socket.socket) -> bytes:
    data = b""
    while piece := peer.recv(65536):
        data += piece
    return data


def digest(peer: socket.socket, count: int) -> str:
    total = hashlib.md5()
    while count > 0:
        piece = peer.recv(min(count, 1 << 16))
        assert piece, f"the stream ends {count} bytes early"
        total.update(piece)
        count -= len(piece)
    return total.hexdigest()


def quit_agent(path: Path) -> None:
    ask(path, "quit").close()


def test_streams_are_whole_both_ways(quick, tmp_path):
    path = tmp_path / "v"
    block = os.urandom(MIB)
    with quick(AGENT + END, "--vsock", f"cid=42,socket={path}", "--api-socket", SOCKET, timeout=1500) as machine:
        machine.wait_for("AGENT READY")
        with ask(path, f"sink {STREAM}") as peer:
            total = hashlib.md5()
            began = time.monotonic()
            for _ in range(STREAM // MIB):
                peer.sendall(block)
                total.update(block)
            assert rest(peer).decode() == total.hexdigest()
            print(f"to the guest: {STREAM / MIB / (time.monotonic() - began):.0f} MiB/s")
        with ask(path, f"source {STREAM}") as peer:
            began = time.monotonic()
            checksum = digest(peer, STREAM)
            print(f"from the guest: {STREAM / MIB / (time.monotonic() - began):.0f} MiB/s")
            assert rest(peer).decode() == checksum
        # Both at once, and a third that does not hold them up: it reads nothing.
        with ask(path, f"source {1024 * MIB}") as deaf:
            with ask(path, f"sink {16 * MIB}") as to, ask(path, f"source {16 * MIB}") as source:
                sender = threading.Thread(target=lambda: [to.sendall(block) for _ in range(16)])
                sender.start()
                checksum = digest(source, 16 * MIB)
                assert rest(source).decode() == checksum
                sender.join()
                assert rest(to).decode() == hashlib.md5(block * 16).hexdigest()
            deaf.shutdown(socket.SHUT_RDWR)
        with Api(SOCKET) as api:
            counters = api.get("vm.counters")["_vsock0"]
        assert counters["rx_bytes"] >= STREAM and counters["tx_bytes"] >= STREAM
        assert counters["connections_reset"] == 0 and counters["tx_errors"] == 0
        quit_agent(path)
        assert_passed(machine.wait())
    assert not path.exists()


def test_many_connections_ends_and_refusals(quick, tmp_path):
    path = tmp_path / "v"
    with quick(AGENT + END, "--vsock", f"cid=3,socket={path}", timeout=600) as machine:
        machine.wait_for("AGENT READY")
        before = resources(machine.pid)
        # A hundred at once.
        peers = [ask(path, "echo") for _ in range(100)]
        for number, peer in enumerate(peers):
            peer.sendall(b"number %d\n" % number)
        for number, peer in enumerate(peers):
            assert line(peer) == f"number {number}\n"
        assert resources(machine.pid)["threads"] == before["threads"]
        for peer in peers:
            peer.close()
        # Each side ends its direction first.
        with ask(path, "until-end") as peer:
            peer.sendall(b"all of it")
            peer.shutdown(socket.SHUT_WR)
            assert rest(peer).decode() == hashlib.md5(b"all of it").hexdigest()
        with ask(path, "end-first") as peer:
            assert rest(peer) == b"last words"
            peer.sendall(b"an answer")
        machine.wait_for("HEARD " + hashlib.md5(b"an answer").hexdigest())
        # A peer that never reads stops the guest, and nobody else.
        with ask(path, "flood") as deaf:
            machine.wait_for("STOPPED after ")
            with ask(path, "echo") as peer:
                peer.sendall(b"still there\n")
                assert line(peer) == "still there\n"
            deaf.close()
        # The guest connects to the host.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{path}_5000")
            listener.listen(1)
            with ask(path, "dial 5000") as peer:
                guest, _ = listener.accept()
                with guest:
                    assert line(guest) == "from 5000\n"
                    guest.sendall(b"welcome")
                    assert peer.recv(100) == b"welcome"
        with ask(path, "dial 5001") as peer:
            assert rest(peer) == b"104"  # ECONNRESET: nobody listens there
        try:
            dial(path, 9999)
            raise AssertionError("somebody listens at port 9999 of the guest")
        except ConnectionRefusedError:
            pass
        # Of all that nothing is left but the memory that was touched.
        deadline = time.monotonic() + 60
        while (after := resources(machine.pid))["fds"] > before["fds"] and time.monotonic() < deadline:
            select.select([], [], [], 0.1)
        assert after["fds"] == before["fds"] and after["threads"] == before["threads"], (before, after)
        quit_agent(path)
        assert_passed(machine.wait())


def test_a_vsock_comes_and_goes(quick, tmp_path):
    path = tmp_path / "v"
    cycles = 5
    script = AGENT.replace("until [ -c /dev/vsock ]; do sleep 0.05; done", "")
    script = script.replace("python3 /run/agent.py || exit 20", f"""
echo READY
count() {{ ls -d /sys/bus/virtio/drivers/vmw_vsock_virtio_transport/virtio* 2>/dev/null | wc -l; }}
for i in $(seq {cycles}); do
    until [ $(count) = 1 ]; do sleep 0.05; done
    python3 /run/agent.py $i || exit 20
    echo "ASK $i"
    until [ $(count) = 0 ]; do sleep 0.05; done
    echo "WENT $i"
done
""")
    with quick(script + END, "--api-socket", SOCKET, timeout=300) as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            before: dict[str, int] = {}
            for i in range(1, cycles + 1):
                added = api.put("vm.add-vsock", {"cid": 3, "socket": str(path)})
                assert added["id"] == "_vsock0" and added["bdf"].startswith("0000:00:"), added
                machine.wait_for(f"AGENT READY {i}\r")
                talk(path).close()
                quit_agent(path)
                machine.wait_for(f"ASK {i}\r")
                api.put("vm.remove-device", {"id": "_vsock0"})
                machine.wait_for(f"WENT {i}\r")
                deadline = time.monotonic() + 30
                while "vsock" in api.get("vm.info")["config"] and time.monotonic() < deadline:
                    select.select([], [], [], 0.05)
                assert "vsock" not in api.get("vm.info")["config"] and not path.exists()
                if i == 2:
                    before = resources(machine.pid)
            after = resources(machine.pid)
        assert after["fds"] <= before["fds"] and after["threads"] == before["threads"], (before, after)
        assert_passed(machine.wait())


def begin(machine, config, path: Path):  # noqa: F811
    """A VM with an agent, and a connection to it."""
    with machine.api() as api:
        api.put("vm.create", config(AGENT + END, vsock={"cid": 42, "socket": str(path)}))
        api.put("vm.boot")
    machine.wait_for("AGENT READY", timeout=300)
    return talk(path)


def talk(path: Path) -> socket.socket:
    peer = ask(path, "echo")
    peer.sendall(b"hello\n")
    assert line(peer) == "hello\n"
    return peer


def test_a_snapshot_ends_connections_and_new_ones_work(server, config, tmp_path):  # noqa: F811
    first = server()
    old = begin(first, config, tmp_path / "v")
    folder = tmp_path / "saved"
    for place in (tmp_path / "unused", folder):
        place.mkdir()
    with first.api(timeout=120) as api:
        api.put("vm.pause")
        api.put("vm.snapshot", {"destination_url": f"file://{tmp_path / 'unused'}"})
        # Who goes on loses nothing.
        api.put("vm.resume")
        old.sendall(b"still\n")
        assert line(old) == "still\n"
        api.put("vm.pause")
        api.put("vm.snapshot", {"destination_url": f"file://{folder}"})
        api.put("vm.delete")
    assert rest(old) == b""
    second = server()
    with second.api(timeout=120) as api:
        api.put("vm.restore", {"source_url": f"file://{folder}", "resume": True, "vsock_socket": str(tmp_path / "w")})
        assert api.get("vm.info")["config"]["vsock"]["socket"] == str(tmp_path / "w")
    second.wait_for("LOST 104", timeout=120)  # ECONNRESET
    talk(tmp_path / "w").close()
    quit_agent(tmp_path / "w")
    second.wait_for("HAKO-TEST-EXIT=0", timeout=120)


def test_a_move_ends_connections_and_new_ones_work(server, config, tmp_path):  # noqa: F811
    a, b = server(), server()
    old = begin(a, config, tmp_path / "v")
    url = "unix:/run/vsock-move.sock"
    answer = receive(b, url, [], vsock_socket=str(tmp_path / "w"))
    with answer, a.api(timeout=120) as api:
        api.put("vm.send-migration", {"destination_url": url})
        progress = wait_for_end(api)
        assert progress["status"] == "finished", progress
        wait_for_no_vm(api)
        assert answer.response().status == 204
    assert rest(old) == b"" and not (tmp_path / "v").exists()
    b.wait_for("LOST 104", timeout=120)
    talk(tmp_path / "w").close()
    quit_agent(tmp_path / "w")
    b.wait_for("HAKO-TEST-EXIT=0", timeout=120)
