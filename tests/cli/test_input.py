"""Bad input: one line on stderr, exit code 2, nothing created and nothing lost. No KVM is needed."""

import json
import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.hako import GUEST, HAKO


def hako(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([HAKO, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60)


def snapshot(folder: Path) -> dict[str, tuple]:
    """Names, types and contents of everything in a folder."""
    return {str(path.relative_to(folder)): (path.lstat().st_mode, path.lstat().st_size,
                                            path.read_bytes() if path.is_file() else None)
            for path in sorted(folder.rglob("*"))}


def refused(folder: Path, *arguments: object, words: str) -> None:
    """hako refuses `arguments`, checked and for real, in the same words."""
    before = snapshot(folder)
    for mode in (["--check"], []):
        result = hako("run", *mode, *arguments)
        assert result.returncode == 2, result
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert words in result.stderr
        assert snapshot(folder) == before


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A good ELF kernel, to be damaged."""
    path = tmp_path / "kernel"
    path.write_bytes(GUEST.read_bytes())
    return path


@pytest.fixture
def bzimage(tmp_path: Path) -> Path:
    """The smallest thing with a bzImage's header, cut short."""
    setup = bytearray(5 * 512)
    setup[0x1F1] = 4  # setup_sects
    struct.pack_into("<I", setup, 0x1F4, 0x10000)  # syssize: 1 MiB, which is not there
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    struct.pack_into("<H", setup, 0x236, 1)  # XLF_KERNEL_64
    path = tmp_path / "bzImage"
    path.write_bytes(setup)
    return path


def test_good_input_passes_the_check(kernel, tmp_path):
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    result = hako("run", "--check", "--kernel", kernel, "--disk", disk)
    assert result.returncode == 0, result


@pytest.mark.parametrize("size", [0, 1, 64, 512, 2000])
def test_a_truncated_elf_kernel(kernel, tmp_path, size):
    kernel.write_bytes(kernel.read_bytes()[:size])
    refused(tmp_path, "--kernel", kernel, words=str(kernel))


def test_a_truncated_bzimage(bzimage, tmp_path):
    refused(tmp_path, "--kernel", bzimage, words=str(bzimage))


@pytest.mark.parametrize("offset, layout, value", [
    (0x20, "<Q", 0xFFFFFFFFFFFFFFF0),  # e_phoff
    (0x38, "<H", 0xFFFF),  # e_phnum
    (0x36, "<H", 1),  # e_phentsize
])
def test_an_elf_kernel_with_wild_headers(kernel, tmp_path, offset, layout, value):
    data = bytearray(kernel.read_bytes())
    struct.pack_into(layout, data, offset, value)
    kernel.write_bytes(data)
    refused(tmp_path, "--kernel", kernel, words=str(kernel))


def test_a_kernel_that_is_something_else(tmp_path):
    text = tmp_path / "text"
    text.write_text("hello\n" * 1000)
    refused(tmp_path, "--kernel", text, words="neither")
    refused(tmp_path, "--kernel", tmp_path, words=str(tmp_path))
    refused(tmp_path, "--kernel", tmp_path / "missing", words="missing")


def test_too_little_memory(kernel, tmp_path):
    refused(tmp_path, "--kernel", kernel, "--memory", "512K", words="memory")


def test_taps_that_are_none(kernel, tmp_path):
    refused(tmp_path, "--kernel", kernel, "--net", "fd=99", words="fd 99 is no open file descriptor")
    refused(tmp_path, "--kernel", kernel, "--net", "tap=lo", words="tap")
    refused(tmp_path, "--kernel", kernel, "--net", "tap=a/b", words="--net tap=a/b")


def test_disks_that_are_none(kernel, tmp_path):
    empty = tmp_path / "empty.img"
    empty.touch()
    refused(tmp_path, "--kernel", kernel, "--disk", empty, words=str(empty))
    refused(tmp_path, "--kernel", kernel, "--disk", tmp_path, words=str(tmp_path))
    refused(tmp_path, "--kernel", kernel, "--disk", tmp_path / "missing.img", words="missing.img")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    refused(tmp_path, "--kernel", kernel, "--disk", fifo, words=str(fifo))


def test_a_configuration_file(kernel, tmp_path):
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    config = tmp_path / "vm.json"
    config.write_text(json.dumps({"payload": {"kernel": str(kernel)}, "disks": [{"path": str(disk)}],
                                  "cpus": {"boot_vcpus": 3, "max_vcpus": 4}}))
    result = hako("run", "--check", "--config", config)
    assert result.returncode == 0, result
    assert result.stdout == "The input is good: 3 vCPUs, 512 MiB of memory, 1 disks, 0 network interfaces.\n"


@pytest.mark.parametrize("text, words", [
    ("", "no JSON"), ("{", "no JSON"), ("[]", "the body"), ('{"payload":{}}', "payload.kernel"), ("{}", "payload"),
    ('{"payload":{"kernel":"/k"},"cpus":{"boot_vcpus":"x","max_vcpus":1}}', "cpus.boot_vcpus"),
    ('{"payload":{"kernel":"/k"},"disks":[{"path":"/d"},{}]}', "disks[1].path"), ])
def test_a_configuration_file_that_says_no_vm(tmp_path, text, words):
    config = tmp_path / "vm.json"
    config.write_text(text)
    refused(tmp_path, "--config", config, words=words)
    assert str(config) in hako("run", "--config", config).stderr


def test_a_configuration_file_that_is_too_long(tmp_path):
    config = tmp_path / "vm.json"
    config.write_text(" " * ((4 << 20) + 1))
    refused(tmp_path, "--config", config, words="longer than")


def test_a_configuration_file_that_is_not_there(tmp_path):
    refused(tmp_path, "--config", tmp_path / "missing.json", words="missing.json")
    refused(tmp_path, "--config", tmp_path, words=str(tmp_path))


@pytest.mark.parametrize("text, words", [
    ("no header\n", "user-data"),
    ("#cloud-config\na: [1\n", "line"),
])
def test_a_seed_that_cloud_init_would_not_understand(kernel, tmp_path, text, words):
    user_data = tmp_path / "user-data"
    user_data.write_text(text)
    refused(tmp_path, "--kernel", kernel, "--cloud-init", user_data, words=words)


@pytest.mark.parametrize("arguments", [
    ["run"], ["run", "--kernel"], ["run", "--kernel", "x", "--cpus", "0"], ["run", "--kernel", "x", "--cpus", "65"],
    ["run", "--kernel", "x", "--memory", "lots"], ["run", "--kernel", "x", "--disk", "path=y,colour=red"],
    ["run", "--kernel", "x", "--serial", "radio"], ["walk"], ["run", "--kernel", "x", "--no-such-option"],
])
def test_a_command_line_that_makes_no_sense(arguments):
    result = hako(*arguments)
    assert result.returncode == 2, result
    assert result.stderr.startswith("hako: ")
    assert len(result.stderr.splitlines()) == 1, result.stderr
