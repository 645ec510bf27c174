"""virtio-console and the host ends of consoles, from stock Debian guests."""

import hashlib
import os
import re
import select
import socket
import termios
import threading
import time
import tty
from pathlib import Path

import pytest

from tests.lab.conftest import assert_passed
from tests.lab.test_hotplug import resources
from tests.support.api import Api, ApiError

SOCKET = Path("/run/hako-api.sock")
AGENT = "org.qemu.guest_agent.0"
MIB = 1 << 20

#: flood N: N MiB and a bit on the standard output, no two of them alike. port NAME: the device of a named port.
SET_UP = """
head -c 1M /dev/urandom >/run/block
flood() { for i in $(seq $1); do echo "block $i"; cat /run/block; done; }
port() {
    until name=$(grep -lsx "$1" /sys/class/virtio-ports/*/name); do sleep 0.05; done
    echo /dev/$(echo $name | cut -d/ -f5)
}
"""

#: The console on descriptor 4. It forgets its settings when nobody has it open.
OPEN = """
until [ -c /dev/hvc0 ]; do sleep 0.05; done
exec 4<>/dev/hvc0
stty raw -echo <&4
"""

FLOOD = SET_UP + OPEN + """
echo "EXPECTED $(flood 100 | md5sum | cut -d' ' -f1)"
flood 100 >&4 || exit 1
stty raw <&4  # returns when all is sent
exit 0
"""


class Reader(threading.Thread):
    """Takes all that comes from a descriptor until its end, and keeps its length and checksum."""

    def __init__(self, fd: int):
        super().__init__(daemon=True)
        self._fd = fd
        self._sum = hashlib.md5()
        self.length = 0
        self.start()

    def run(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except OSError:  # the other side of a pty is gone
                return
            if not data:
                return
            self._sum.update(data)
            self.length += len(data)

    def result(self) -> tuple[int, str]:
        self.join(60)
        return self.length, self._sum.hexdigest()


def expected(text: str) -> str:
    return re.search(r"EXPECTED (\w+)", text).group(1)


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(120)
    client.connect(str(path))
    return client


def test_a_file_and_a_socket_get_100_mib(quick, tmp_path):
    log, path = tmp_path / "log", tmp_path / "console"
    with quick(FLOOD, "--console", f"file={log},socket={path}", timeout=1500) as machine:
        machine.wait_for("EXPECTED")
        client = connect(path)
        client.settimeout(None)  # with a time limit its descriptor would not wait
        reader = Reader(client.fileno())
        outcome = machine.wait()
    assert_passed(outcome)
    length, checksum = reader.result()
    assert hashlib.md5(log.read_bytes()).hexdigest() == expected(outcome.console)
    assert checksum == expected(outcome.console), f"{length} bytes came"


def test_a_pty_gets_100_mib(quick):
    with quick(FLOOD, "--console", "pty", timeout=1500) as machine:
        machine.wait_for("EXPECTED")
        path = re.search(r"the console is (\S+)", machine.stderr_text()).group(1)
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        reader = Reader(fd)
        outcome = machine.wait()
    assert_passed(outcome)
    length, checksum = reader.result()
    os.close(fd)
    assert checksum == expected(outcome.console), f"{length} bytes came"


def test_standard_output_gets_100_mib(quick, tmp_path):
    log = tmp_path / "serial"
    with quick(FLOOD, "--console", "tty", timeout=1500, serial=f"file={log}") as machine:
        reader = Reader(machine.process.stdout.fileno())
        length, checksum = reader.result() if reader.join(1400) is None else (0, "")
        code = machine.process.wait()
    console = log.read_text(errors="replace")
    assert code == 0 and "HAKO-TEST-EXIT=0" in console, console[-2000:]
    assert checksum == expected(console), f"{length} bytes came"


def test_a_client_that_does_not_read_costs_no_memory_and_no_time(quick, tmp_path):
    path = tmp_path / "console"
    script = SET_UP + OPEN + """
echo START
read -r go
flood 100 >&4 || exit 1
echo WRITTEN
read -r go
exit 0
"""
    with quick(script, "--console", f"socket={path}", timeout=1500) as machine:
        machine.wait_for("START")
        with connect(path):
            before = resources(machine.pid)
            machine.type("\n")
            machine.wait_for("WRITTEN")
            after = resources(machine.pid)
            machine.type("\n")
            assert_passed(machine.wait())
    assert after["kib"] < before["kib"] + 512, (before, after)
    assert after["threads"] == before["threads"], (before, after)


def test_what_came_before_a_client_is_kept_and_clients_come_and_go(quick, tmp_path):
    path = tmp_path / "console"
    script = SET_UP + OPEN + """
seq 100000 >&4
echo WRITTEN
while read -r line <&4; do
    echo "got $line" >&4
    [ "$line" = end ] && exit 0
done
"""
    with quick(script, "--console", f"socket={path}") as machine:
        machine.wait_for("WRITTEN")
        text = "".join(f"{i}\n" for i in range(1, 100001)).encode()
        with connect(path) as client:
            got = b""
            while len(got) < 1 << 16:
                got += client.recv(1 << 16)
            assert got == text[-(1 << 16):]
            with connect(path) as other:
                assert other.recv(1) == b""  # turned away
            client.sendall(b"one\n")
            assert client.recv(100) == b"got one\n"
        with connect(path) as client:
            client.sendall(b"end\n")
            assert client.recv(100) == b"got end\n"
        assert_passed(machine.wait())


def test_a_named_port_both_ways(quick, tmp_path):
    path = tmp_path / "agent"
    script = SET_UP + f"""
port=$(port {AGENT})
echo "PORT $port"
exec 4<>$port
until [ "$line" = end ]; do
    if ! read -r line <&4; then sleep 0.1; continue; fi  # no client is an end of file
    echo "answer to $line" >&4
    [ "$line" = flood ] && flood 100 >&4
done
exit 0
"""
    with quick(script, "--port", f"name={AGENT},socket={path}", timeout=1500) as machine:
        machine.wait_for("PORT /dev/vport")
        for word in (b"one", b"two"):
            with connect(path) as client:
                client.sendall(word + b"\n")
                assert client.recv(100) == b"answer to " + word + b"\n"
        with connect(path) as client:
            client.sendall(b"flood\n")
            assert client.recv(16) == b"answer to flood\n"
            left = 100 * MIB + sum(len(f"block {i}\n") for i in range(1, 101))
            block = b""
            while left > 0:
                data = client.recv(min(left, 1 << 16))
                assert data
                left -= len(data)
                if len(block) < 3 * MIB:
                    block += data
            first, second = block.index(b"block 1\n") + 8, block.index(b"block 2\n") + 8
            assert block[first:first + MIB] == block[second:second + MIB]
            client.sendall(b"end\n")
            assert client.recv(100) == b"answer to end\n"
        assert_passed(machine.wait())


def test_the_window_has_the_size_of_the_pty(quick):
    script = OPEN + """
sized() { until [ "$(stty size <&4)" = "$1" ]; do sleep 0.1; done; echo "SIZE $1"; }
echo READY
sized "50 132"
sized "24 80"
exit 0
"""
    with quick(script, "--console", "pty") as machine:
        machine.wait_for("READY")
        path = re.search(r"the console is (\S+)", machine.stderr_text()).group(1)
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        for size in ((50, 132), (24, 80)):
            termios.tcsetwinsize(fd, size)
            os.write(fd, b"x")
            machine.wait_for(f"SIZE {size[0]} {size[1]}")
        outcome = machine.wait()
        os.close(fd)
    assert_passed(outcome)


def test_consoles_come_and_go(quick, tmp_path):
    cycles = 5
    script = SET_UP + f"""
# Linux has devices for consoles that are not there, too; they cannot be opened.
hello() {{
    for device in /dev/hvc[0-7]; do
        echo "hello from $1" >$device && return
    done
    return 1
}}
mount -t debugfs debugfs /sys/kernel/debug
echo READY
for i in $(seq {cycles}); do
    # What is written before is lost: Linux has the device already, and not yet its port.
    until grep -qs "guest_connected: 1" /sys/kernel/debug/virtio-ports/vport*p0; do sleep 0.05; done
    until hello $i; do sleep 0.05; done 2>/dev/null
    port=$(port port.$i)
    exec 4<>$port  # the driver drops what it has got when nobody has the port open
    echo "CAME $i"
    until read -r line <&4; do sleep 0.1; done  # no client is an end of file
    exec 4<&-
    echo "HEARD $line"
    while [ -e $port ]; do sleep 0.05; done
    echo "WENT $i"
done
dmesg --level=emerg,alert,crit,err | grep . && exit 30
exit 0
"""
    log, path = tmp_path / "log", tmp_path / "port"
    with quick(script, "--api-socket", SOCKET, timeout=120) as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            before: dict[str, int] = {}
            for i in range(1, cycles + 1):
                added = api.put("vm.add-console", {"mode": "File", "file": str(log),
                                                   "ports": [{"name": f"port.{i}", "socket": str(path)}]})
                assert added["id"] == "_console0", added
                with pytest.raises(ApiError) as taken:
                    api.put("vm.add-console", {"ports": [{"name": "other", "socket": str(path)}]})
                assert taken.value.status == 400 and "another process serves it" in str(taken.value)
                machine.wait_for(f"CAME {i}\r")
                with connect(path) as client:
                    client.sendall(f"line {i}\n".encode())
                    machine.wait_for(f"HEARD line {i}\r")
                api.put("vm.remove-device", {"id": added["id"]})
                machine.wait_for(f"WENT {i}\r")
                deadline = time.monotonic() + 30  # an eject is what the guest does last
                while path.exists() and time.monotonic() < deadline:
                    select.select([], [], [], 0.05)
                assert not path.exists()
                if i == 2:
                    before = resources(machine.pid)
            after = resources(machine.pid)
        assert_passed(machine.wait())
    assert log.read_bytes() == b"".join(b"hello from %d\r\n" % i for i in range(1, cycles + 1))
    assert after["fds"] <= before["fds"] and after["threads"] == before["threads"], (before, after)
