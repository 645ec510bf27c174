"""`hako state show`: a saved state as JSON, a damaged one as one line. No KVM is needed."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.hako import HAKO, ROOT

FIXTURE = ROOT / "tests" / "fixtures" / "state-v1.bin"


def show(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([HAKO, "state", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)


def test_a_state_is_json():
    result = show("show", FIXTURE)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["format"] == 1
    sections = {(section["name"], section.get("instance")): section for section in document["sections"]}
    assert sections["machine", None]["state"]["vcpus"] == 2
    assert sections["cpu", "1"]["state"]["regs"]["rip"].startswith("0x")
    assert len(sections["cpu", "0"]["state"]["lapic"]) == 2 * 1024
    assert sections["disk", "__seed"]["required"] is True
    assert len(sections["net", "net0"]["state"]["transport"]["queues"]) == 2


def refused(result: subprocess.CompletedProcess, words: str) -> None:
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert words in result.stderr


@pytest.mark.parametrize("damage, words", [
    (lambda data: data[:-1], "cut short"),
    (lambda data: data[:1000] + bytes([data[1000] ^ 4]) + data[1001:], "checksum is wrong"),
    (lambda data: data[:8] + b"\x02" + data[9:], "format 2"),
    (lambda data: data + b"x", "1 bytes follow the end"),
    (lambda data: b"", "no state that hako saved"),
])
def test_a_damaged_state_is_refused_with_the_reason(tmp_path: Path, damage, words):
    path = tmp_path / "state"
    path.write_bytes(damage(FIXTURE.read_bytes()))
    refused(show("show", path), words)


@pytest.mark.parametrize("arguments, words", [
    ([], "show FILE"),
    (["show"], "give one file"),
    (["show", "a", "b"], "give one file"),
    (["erase", "a"], "show FILE"),
    (["show", "/nonexistent"], "No such file"),
    (["show", "/dev/zero"], "longer than"),
    (["show", "/proc"], "Is a directory"),
])
def test_what_is_no_file_is_refused(arguments, words):
    refused(show(*arguments), words)
