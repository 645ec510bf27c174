"""The lab tool itself: what a caller of `tools/lab run` can rely on."""

import subprocess

from tests.support.hako import ROOT

LAB = ROOT / "tools" / "lab"


def lab(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([LAB, "run", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, cwd=ROOT,
                          timeout=300)


def test_exit_code_and_both_streams_come_through_unchanged():
    result = lab("--", "sh", "-c", r"printf 'out\000\r\377'; printf 'err\n' >&2; exit 7")
    assert result.returncode == 7, result
    assert result.stdout == b"out\0\r\xff"
    assert result.stderr.startswith(b"err\n")


def test_a_run_that_takes_too_long_is_ended_and_its_console_shown():
    result = lab("--timeout", 20, "--", "sleep", "1000")
    assert result.returncode == 124, result
    assert b"console" in result.stderr


def test_the_lab_has_a_kvm_that_runs_guests():
    result = lab("--", ROOT / "build" / "tools" / "hako" / "hako", "doctor", "--json")
    assert result.returncode == 0, result
    assert b'"usable":true' in result.stdout.replace(b" ", b"")
