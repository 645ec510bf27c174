"""A watchdog under stock Debian, whose program that reloads it is killed. Debian 12's own cloud kernel, 6.1, is built without
the driver (CONFIG_I6300ESB_WDT); the one from backports has it."""

from pathlib import Path

from tests.contract.test_events import kept
from tests.lab.conftest import assert_passed
from tests.support.api import Api

SOCKET = Path("/run/hako-api.sock")

#: The first life holds the watchdog open and reloads it until it is killed; the second finds out why it is there.
SCRIPT = r"""
device=$(lspci -Dn -d 8086:25ab) || exit 9
echo "FOUND $device"
wdctl /dev/watchdog0 || exit 10
if wdctl --flags-only --raw --noheadings --output FLAG,BOOT-STATUS /dev/watchdog0 | grep -qx 'CARDRESET 1'; then
    echo "SECOND LIFE"
    exit 0
fi
cat >/run/dog.py <<'END'
import fcntl, os, signal, struct, sys, time
dog = os.open("/dev/watchdog0", os.O_WRONLY)
timeout = struct.unpack("i", fcntl.ioctl(dog, 0xC0045706, struct.pack("i", 4)))[0]
print(f"ARMED for {timeout}", flush=True)
for number in range(10 ** 9):
    os.write(dog, b".")
    time.sleep(0.2)
    if number % 20 == 0:
        print(f"KICKED {number}", flush=True)
END
python3 /run/dog.py & dog=$!
read _
echo "READ"
kill -9 $dog
wait $dog
echo "KILLED"
sleep 1000
exit 11
"""


def test_a_debian_whose_watchdog_is_not_reloaded_reboots(quick):
    with quick(SCRIPT, "--watchdog", "--api-socket", SOCKET, kernel="kernel-new", timeout=400) as machine:
        machine.wait_for("FOUND 0000:00:")
        machine.wait_for("ARMED for 4")
        machine.wait_for("KICKED 20")
        with Api(SOCKET) as api:
            # It is reloaded: 4 seconds have passed, in which it would have run out otherwise.
            assert api.get("vm.counters")["__watchdog"]["kicks"] >= 20
            # Nor does it run out while nobody can reload it.
            api.put("vm.pause")
            api.put("vm.resume")
            machine.type("go\n")
            machine.wait_for("KILLED")
            machine.wait_for("SECOND LIFE")
            assert "watchdog" in [event["event"] for event in kept(api)]
        outcome = machine.wait()
    assert_passed(outcome)
