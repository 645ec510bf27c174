"""hako under the name of cloud-hypervisor, launched as Kata's runtimes and libvirt launch it."""

import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.hako import HAKO
from tests.support.serve import Server, vm_config


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "cloud-hypervisor"
    path.symlink_to(HAKO)
    return path


def events_of(text: str) -> list[dict]:
    """The documents of an event monitor: indented, with a blank line behind each."""
    assert not text or text.endswith("}\n\n"), text
    documents = text.split("\n\n")[:-1]
    events = [json.loads(document) for document in documents]
    for document, event in zip(documents, events):
        assert document == json.dumps(event, indent=2)
        assert list(event) == ["timestamp", "source", "event", "properties"]
        assert set(event["timestamp"]) == {"secs", "nanos"}
        assert 0 <= event["timestamp"]["nanos"] < 10**9
    return events


def names_of(text: str) -> list[str]:
    return [f"{event['source']}:{event['event']}" for event in events_of(text)]


def test_the_version_that_libvirt_reads(program):
    result = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    first, second = result.stdout.splitlines()
    version = re.fullmatch(r"cloud-hypervisor v(\d+)\.(\d+)(-\S+)?", first)
    assert version and int(version[1]) >= 40
    assert second == "Migration Protocol Versions: 0"


def test_without_arguments_there_is_help(program):
    result = subprocess.run([program], capture_output=True, text=True, check=True)
    assert "--api-socket" in result.stdout


def test_options_that_are_not_known_are_refused(program):
    result = subprocess.run([program, "--api-socket", "/x", "--tea", "green"], capture_output=True, text=True)
    assert result.returncode == 2 and "--tea" in result.stderr and len(result.stderr.splitlines()) == 1


def test_launched_as_kata_does_it(program, tmp_path):
    for seccomp in ("true", "false", "log", "errno"):
        folder = tmp_path / seccomp
        folder.mkdir()
        with Server(folder, "-vv", "--seccomp", seccomp, command=[program]) as server, server.api() as api:
            assert api.get("vmm.ping")["pid"] == server.pid
            api.put("vm.create", vm_config())
            api.put("vmm.shutdown")
            assert server.wait() == 0
            assert "PUT /api/v1/vm.create: 204" in server.stderr()


def test_launched_as_libvirt_does_it(program, tmp_path):
    """A FIFO that is read before the socket is used."""
    fifo = tmp_path / "event-monitor-fifo"
    os.mkfifo(fifo)
    text: list[str] = []

    def read() -> None:
        with open(fifo) as file:  # waits for hako
            text.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    with Server(tmp_path, "--event-monitor", f"path={fifo}", command=[program]) as server:
        with server.api() as api:
            api.put("vm.create", vm_config())
            api.put("vm.add-disk", {"path": "/nowhere", "id": "d"})
            api.put("vm.remove-device", {"id": "d"})
            api.put("vm.delete")
        assert server.terminate() == 0
        reader.join()
        assert server.stderr() == ""
    assert names_of(text[0]) == ["vmm:starting", "vm:created", "vm:device-added", "vm:device-removed", "vm:deleted",
                                 "vmm:shutdown"]
    assert events_of(text[0])[2]["properties"] == {"id": "d"}
    assert events_of(text[0])[1]["properties"] is None


def test_a_fifo_without_a_reader_is_waited_for_and_can_be_given_up(program, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Server(tmp_path, "--event-monitor", f"path={fifo}", command=[program]) as server:
        with pytest.raises(TimeoutError), server.api(timeout=0.2) as api:
            api.get("vmm.ping")
        server.process.terminate()
        server.wait()


def test_events_go_to_a_file_and_to_a_descriptor(tmp_path):
    path = tmp_path / "events"
    for _ in range(2):  # appended
        folder = Path(os.path.join(tmp_path, f"run{_}"))
        folder.mkdir()
        with Server(folder, "--event-monitor", f"path={path}") as server, server.api() as api:
            api.put("vmm.shutdown")
            server.wait()
    assert path.stat().st_mode & 0o777 == 0o600
    assert names_of(path.read_text()) == ["vmm:starting", "vmm:shutdown"] * 2


def test_a_reader_that_lags_or_leaves_loses_events_and_nothing_else(tmp_path):
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "api.sock"))
    listening.listen()
    process = subprocess.Popen([HAKO, "serve", "--api-socket", f"fd={listening.fileno()}", "--event-monitor",
                                f"fd={write_end}"], pass_fds=[listening.fileno(), write_end], stderr=subprocess.DEVNULL)
    os.close(write_end)
    try:
        with Api(tmp_path / "api.sock") as api:
            for _ in range(400):  # more than a pipe holds
                api.put("vm.create", vm_config())
                api.put("vm.delete")
            names = names_of(os.read(read_end, 1 << 20).decode())
            assert names[:2] == ["vmm:starting", "vm:created"]
            os.close(read_end)
            api.put("vm.create", vm_config())
            api.put("vmm.shutdown")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        listening.close()


@pytest.mark.parametrize("arguments, words", [
    (["--event-monitor", "/nowhere/events"], "/nowhere/events"), (["--event-monitor", "fd=77"], "77"),
    (["--log-file", "/nowhere/log"], "/nowhere/log"), (["--seccomp", "maybe"], "maybe"),
])
def test_bad_options_are_one_line_and_exit_code_2(tmp_path, arguments, words):
    result = subprocess.run([HAKO, "serve", "--api-socket", tmp_path / "s", *arguments], capture_output=True, text=True,
                            timeout=30)
    assert result.returncode == 2
    assert words in result.stderr and len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_log_goes_to_a_file(tmp_path):
    log = tmp_path / "log"
    with Server(tmp_path, "-vv", "--log-file", log) as server, server.api() as api:
        api.put("vm.create", vm_config())
        assert "PUT /api/v1/vm.create: 204" in log.read_text()
        api.put("vmm.shutdown")
        server.wait()
        assert server.stderr() == ""
