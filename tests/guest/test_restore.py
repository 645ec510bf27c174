"""Machines that are saved and built again, by a program that does it in one process."""

import subprocess

import pytest

from tests.support.hako import BUILD, GUEST, HAKO

HOST = BUILD / "tests" / "guest" / "restore-host"


def cases() -> list[str]:
    """The program's tests, one a line, as `doctest` lists them; none where it is not built."""
    if not HOST.exists():
        return ["the program is not built"]
    listing = subprocess.run([HOST, GUEST, "-ltc"], capture_output=True, text=True, timeout=60)
    return [line for line in listing.stdout.splitlines() if line and not line.startswith(("[doctest]", "="))]


def emulates_ring_0() -> bool:
    """Such a KVM knows no paging but that of 64-bit kernels."""
    return "it emulates ring 0" in subprocess.run([HAKO, "doctor"], capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("case", cases())
def test_restore(case):
    if "32-bit" in case and emulates_ring_0():
        pytest.skip("the KVM here runs 64-bit kernels only")
    # A comma would begin another pattern.
    pattern = case.replace(",", "*")
    outcome = subprocess.run([HOST, GUEST, f"-tc={pattern}"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=300)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "1 passed" in outcome.stdout, outcome.stdout
