"""A Linux guest that is saved and built again, machine after machine, does not notice."""

import subprocess

import pytest

from tests.lab.conftest import artifact
from tests.support.hako import BUILD, ROOT

RESTORE = BUILD / "tests" / "guest" / "restore-linux"
GENERATIONS = 6

#: Time that does not go back and leaps once, a disk that reads the same, timers, all CPUs busy, a quiet kernel.
SCRIPT = r"""
dmesg -c >/dev/null
failed=0
sum() { dd if=/dev/vda bs=64k 2>/dev/null | sha256sum; }
until [ -b /dev/vda ]; do usleep 10000; done
expected=$(sum)
for cpu in $(seq 2 $(nproc)); do
    (while :; do :; done) &
done
hundredths() { tr -d . </proc/uptime | cut -d ' ' -f 1; }
last=$(hundredths)
leaps=0
for round in $(seq 1 40); do
    now=$(hundredths)
    [ "$now" -ge "$last" ] || { echo "time went back from $last to $now"; failed=1; }
    [ $((now - last)) -lt 100000 ] || leaps=$((leaps + 1))
    last=$now
    echo 3 >/proc/sys/vm/drop_caches
    [ "$(sum)" = "$expected" ] || { echo "the disk reads wrong"; failed=1; }
    usleep 20000
    echo "tick $round"
done
echo "leaps: $leaps"
echo "clock: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
dmesg | grep -iE "unstable|lockup|stall|hung|went backwards" && failed=1
exit $failed
"""


@pytest.mark.parametrize("kernel, clock, options", [
    ("kernel", "kvm-clock", ""),
    ("kernel-new", "tsc", " clocksource=tsc tsc=reliable"),
], ids=["kvm-clock", "tsc"])
def test_linux_goes_on_in_one_machine_after_the_other(tmp_path, kernel, clock, options):
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    initrd = tmp_path / "initrd"
    subprocess.run([ROOT / "tools" / "lab", "quick-initrd", "--kernel", kernel, "--script", script, "--output", initrd],
                   check=True)
    outcome = subprocess.run([RESTORE, artifact(kernel), initrd, "console=ttyS0 panic=-1" + options, "2",
                              str(GENERATIONS)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             errors="replace", timeout=600)
    told = outcome.stdout + outcome.stderr
    assert outcome.returncode == 0, told
    assert "HAKO-TEST-EXIT=0" in outcome.stdout, told
    assert "leaps: 1" in outcome.stdout, told
    assert f"clock: {clock}" in outcome.stdout, told
