"""`hako ctl` against a live server."""

import json
import os
import socket
import subprocess
import threading

import pytest

from tests.support.hako import HAKO
from tests.support.serve import vm_config


@pytest.fixture
def ctl(server):
    def run(*words: object, code: int = 0, **options) -> str:
        """What it prints: on stdout if all is well, else its one line on stderr."""
        result = subprocess.run([HAKO, "ctl", "--api-socket", server.socket, *map(str, words)], capture_output=True,
                                text=True, timeout=30, stdin=subprocess.DEVNULL, **options)
        assert result.returncode == code, result
        if code:
            assert result.stdout == "" and len(result.stderr.splitlines()) == 1, result
            return result.stderr
        assert result.stderr == ""
        return result.stdout

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "vm.json"
    path.write_text(json.dumps(vm_config(disks=[{"path": "/root.img", "readonly": True}])))
    return path


def test_a_vm_by_hand(ctl, server, api, file):
    assert str(server.pid) in ctl("ping")
    assert ctl("create", file) == ""
    info = ctl("info").splitlines()
    assert info[0].split() == ["state", "Created"]
    assert "disks      _disk0  /root.img  read-only" in info
    assert json.loads(ctl("info", "--json")) == api.get("vm.info")
    assert ctl("add-disk", "/data.img", "id=data", "serial=abc") == ""
    assert api.get("vm.info")["config"]["disks"][1]["serial"] == "abc"
    assert ctl("remove-device", "data") == ""
    assert len(api.get("vm.info")["config"]["disks"]) == 1
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ctl("add-net", "id=lan", f"fd={theirs.fileno()}", pass_fds=[theirs.fileno()])
    theirs.close()
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    ctl("delete")
    assert ours.recv(1) == b""
    assert ctl("shutdown-vmm") == ""
    assert server.wait() == 0


def test_exit_codes_tell_whose_fault_it_is(ctl, file, tmp_path):
    assert "404 Not Found: Error from API" in ctl("info", code=2)
    ctl("create", file)
    assert "500 Internal Server Error" in ctl("pause", code=1)
    assert "500" in ctl("create", file, code=1)
    assert "501 Not Implemented" in ctl("add-user-device", "/x", code=1)
    assert "queue_size" in ctl("add-disk", "/x", "queue_size=3", code=2)
    assert "did you mean boot?" in ctl("bot", code=2)
    assert "/nowhere" in ctl("create", "/nowhere", code=2)
    assert "fd=" in ctl("add-net", "fd=77", code=2)
    assert "is hako serve" in subprocess.run([HAKO, "ctl", "--api-socket", tmp_path / "none", "ping"],
                                             capture_output=True, text=True).stderr


def test_a_body_from_a_file(ctl, api, file, tmp_path):
    ctl("create", f"@{file}")
    body = tmp_path / "disk.json"
    body.write_text('{"path":"/x","id":"from-file"}')
    ctl("add-disk", f"@{body}")
    assert api.get("vm.info")["config"]["disks"][-1]["id"] == "from-file"


def test_events_as_they_happen(ctl, server, api, file):
    assert ctl("events", "follow=false").split()[-2:] == ["vmm", "starting"]
    process = subprocess.Popen([HAKO, "ctl", "--api-socket", server.socket, "--json", "events"], stdout=subprocess.PIPE,
                               text=True)
    assert json.loads(process.stdout.readline())["event"] == "starting"
    ctl("create", file)
    assert json.loads(process.stdout.readline())["event"] == "created"
    ctl("shutdown-vmm")
    rest = [json.loads(line)["event"] for line in process.stdout.read().splitlines()]
    assert rest == ["deleted", "shutdown"]
    assert process.wait(30) in (0, 1)  # the stream was cut, or not
    process.stdout.close()


def test_metrics_as_they_are(ctl, api):
    assert "# TYPE hako_build_info gauge\n" in ctl("metrics")


@pytest.mark.parametrize("answer", [
    b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 100000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
])
def test_an_answer_that_is_none(tmp_path, answer):
    path = tmp_path / "other.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        client, _ = listening.accept()
        client.recv(65536)
        try:
            client.sendall(answer)
        except OSError:
            pass
        client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    result = subprocess.run([HAKO, "ctl", "--api-socket", path, "info"], capture_output=True, text=True, timeout=30)
    thread.join()
    listening.close()
    assert result.returncode == 1, result
    assert len(result.stderr.splitlines()) == 1
    assert os.path.exists(path)
