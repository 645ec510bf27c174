"""The bare-metal guest on this host's KVM: devices, processors, and each way a machine can end.

Runs on any KVM, also one that emulates ring 0 instruction by instruction.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.support.hako import GUEST, Machine, run

SECTOR = 512


def guest(test: str, *arguments: object) -> list[object]:
    """The arguments that boot the guest into `test`."""
    return ["--kernel", GUEST, "--cmdline", f"test={test}", "--memory", "64M", *arguments]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An empty 4 MiB image."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4 << 20))
    return path


def pattern(sector: int, offset: int) -> int:
    """What the guest writes (tests/guest/device_tests.cpp)."""
    return (sector * 31 + offset * 7 + 1) & 0xFF


def assert_passed(outcome, test: str) -> None:
    assert outcome.code == 0, outcome
    assert f"PASS: {test}\n" in outcome.console, outcome
    assert "the guest powered off" in outcome.stderr, outcome


def test_ports_answer_as_on_a_pc():
    outcome = run(*guest("ports"))
    assert_passed(outcome, "ports")
    assert "string output\n" in outcome.console


def test_four_processors_start(disk):
    assert_passed(run(*guest("smp", "--cpus", 4)), "smp")


def test_pci_configuration_and_a_moved_bar(disk):
    assert_passed(run(*guest("pci", "--disk", disk)), "pci")


def test_block_requests_reach_the_image(disk):
    outcome = run(*guest("block", "--disk", f"path={disk},serial=abc-123"))
    assert_passed(outcome, "block")
    assert "serial abc-123\n" in outcome.console
    data = disk.read_bytes()
    assert data[3 * SECTOR:3 * SECTOR + 64] == bytes(pattern(3, i) for i in range(64))
    assert disk.stat().st_size == 4 << 20


def test_a_full_queue_over_and_over(disk):
    assert_passed(run(*guest("block-depth", "--disk", disk)), "block-depth")


def test_a_hostile_queue_stops_its_device_and_nothing_else(disk):
    outcome = run(*guest("hostile-queue", "--disk", disk))
    assert_passed(outcome, "hostile-queue")
    warnings = [line for line in outcome.stderr.splitlines() if "warning" in line]
    assert 1 <= len(warnings) <= 3, outcome


def test_the_disk_survives_a_reboot(disk):
    outcome = run(*guest("reboot-once", "--disk", disk))
    assert_passed(outcome, "reboot-once")
    assert "rebooting\n" in outcome.console


def test_no_reboot_ends_the_machine():
    outcome = run(*guest("reset", "--no-reboot"))
    assert outcome.code == 3, outcome
    assert "asked for a reboot" in outcome.stderr


@pytest.mark.parametrize("test, code, words", [
    ("panic", 4, "panicked"),
    ("triple-fault", 5, "triple fault on vCPU 0"),
    ("kvm-error", 6, "KVM internal error"),
])
def test_each_bad_end_has_its_code_and_one_line(test, code, words):
    outcome = run(*guest(test))
    assert outcome.code == code, outcome
    assert words in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1, outcome


def test_sigterm_presses_the_power_button():
    with Machine(*guest("wait")) as machine:
        machine.wait_for("waiting\n")
        machine.signal(signal.SIGTERM)
        assert_passed(machine.wait(), "wait")


def test_a_deaf_guest_is_stopped_at_the_deadline():
    with Machine(*guest("deaf", "--shutdown-timeout", 1)) as machine:
        machine.wait_for("deaf\n")
        machine.signal(signal.SIGTERM)
        outcome = machine.wait()
    assert outcome.code == 7, outcome
    assert "did not shut down within 1 s" in outcome.stderr


def test_a_second_machine_on_the_same_image_is_refused(disk):
    with Machine(*guest("deaf", "--disk", disk)) as first:
        first.wait_for("deaf\n")
        second = run(*guest("block", "--disk", disk))
        assert second.code == 2, second
        assert str(disk) in second.stderr and "in use" in second.stderr
        assert len(second.stderr.splitlines()) == 1, second
        first.signal(signal.SIGKILL)
        first.process.wait()
        # The lock died with its process.
        assert_passed(run(*guest("block", "--disk", disk)), "block")


def threads_of(pid: int) -> list[str]:
    """The names of hako's threads; those that KVM adds to the process (kvm-…) are the kernel's."""
    names = sorted((task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir())
    return [name for name in names if not name.startswith("kvm-")]


def test_threads_do_not_grow_with_disks(tmp_path):
    for count in (1, 8):
        disks = []
        for i in range(count):
            image = tmp_path / f"{count}-{i}.img"
            image.write_bytes(bytes(1 << 20))
            disks += ["--disk", image]
        with Machine(*guest("deaf", "--cpus", 2, *disks)) as machine:
            machine.wait_for("deaf\n")
            assert threads_of(machine.pid) == ["_disk_net_io0", "hako", "vcpu0", "vcpu1"]


def test_the_image_keeps_its_other_bytes(disk):
    before = os.urandom(4 << 20)
    disk.write_bytes(before)
    assert_passed(run(*guest("block", "--disk", disk)), "block")
    after = disk.read_bytes()
    assert after[:3 * SECTOR] == before[:3 * SECTOR]
    assert after[4 * SECTOR:] == before[4 * SECTOR:]
