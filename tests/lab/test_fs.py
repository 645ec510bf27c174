"""Shared directories in stock Debian guests, served by Debian's virtiofsd."""

import contextlib
import hashlib
import os
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.guest.test_migration import receive, wait_for_end, wait_for_no_vm
from tests.lab.conftest import artifact, assert_passed
from tests.lab.test_hotplug import resources
from tests.lab.test_moves import config, server  # noqa: F401
from tests.support.api import Api

SOCKET = Path("/run/hako-api.sock")
#: Of the large file.
SIZE = int(os.environ.get("LAB_FS_MIB", "256"))

#: Prints OK for each thing that a directory must be able to do.
WORK = """
cat >/run/work.py <<'END'
import fcntl, mmap, os, subprocess, sys

os.chdir(sys.argv[1])
with open("made", "x") as file:
    file.write("by the guest")
os.mkdir("folder")
os.rename("made", "folder/renamed")
os.symlink("folder/renamed", "link")
os.link("folder/renamed", "second")
assert open("link").read() == "by the guest" and os.stat("second").st_nlink == 2
assert sorted(os.listdir(".")) == ["folder", "link", "second", "theirs"], os.listdir(".")
assert open("theirs").read() == "by the host"
os.unlink("second")
os.truncate("folder/renamed", 2)
assert os.stat("link").st_size == 2
print("OK names", flush=True)

with open("mapped", "w+b") as file:
    file.truncate(1 << 20)
    with mmap.mmap(file.fileno(), 1 << 20) as memory:
        memory[4096:4100] = b"text"
        memory.flush()
    file.seek(4096)
    assert file.read(4) == b"text"
print("OK mmap", flush=True)

def refused(lock):
    script = f"import fcntl\\nfile = open('lock', 'r+')\\n{lock}"
    return subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL).returncode != 0

with open("lock", "w") as file:
    for lock in ("fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"):
        assert not refused(lock)
        exec(lock)
        assert refused(lock), lock
        exec(lock.replace("LOCK_EX | fcntl.LOCK_NB", "LOCK_UN"))
        assert not refused(lock)
print("OK locks", flush=True)
END
"""
END = """
dmesg --level=emerg,alert,crit,err | grep . && exit 30
exit 0
"""


class Daemon:
    """A running virtiofsd."""

    def __init__(self, folder: Path, socket: Path):
        self.folder, self.socket = folder, socket
        self.log = open(f"{socket}.log", "w+b")
        self.process = subprocess.Popen(
            [artifact("virtiofsd"), "--shared-dir", folder, "--socket-path", socket, "--sandbox", "none",
             "--seccomp", "none"], stderr=self.log, stdout=self.log)
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.text()
            select.select([], [], [], 0.02)

    def text(self) -> str:
        return Path(self.log.name).read_text(errors="replace")

    def wait(self) -> int:
        return self.process.wait(30)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def daemon(tmp_path):
    """daemon(name, folder=None): a virtiofsd on a socket of that name."""
    with contextlib.ExitStack() as stack:

        def start(name: str, folder: Path | None = None) -> Daemon:
            folder = folder or tmp_path / f"{name}-files"
            folder.mkdir(exist_ok=True)
            (folder / "theirs").write_text("by the host")
            (tmp_path / name).unlink(missing_ok=True)
            made = Daemon(folder, tmp_path / name)
            stack.callback(made.end)
            return made

        yield start


def checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def test_a_guest_works_in_a_shared_directory(quick, daemon):
    shared = daemon("one")
    big = shared.folder / "big"
    with quick(WORK + f"""
mount -t virtiofs shared /mnt || exit 10
echo "tick 1"
python3 /run/work.py /mnt || exit 20
dd if=/dev/urandom of=/mnt/big bs=1M count={SIZE} conv=fsync 2>/dev/null || exit 21
echo "SUM $(md5sum </mnt/big)"
read _
echo 3 >/proc/sys/vm/drop_caches
echo "AGAIN $(md5sum </mnt/big)"
umount /mnt || exit 22
""" + END, "--fs", f"tag=shared,socket={shared.socket}", "--api-socket", SOCKET, timeout=300) as machine:
        machine.wait_for("OK names")
        machine.wait_for("OK mmap")
        machine.wait_for("OK locks")
        began = time.monotonic()
        machine.wait_for("SUM ")
        print(f"{SIZE} MiB made and read in {time.monotonic() - began:.1f} s")
        machine.wait_for(checksum(big) + "  -\r")
        with open(big, "r+b") as file:
            file.write(b"the host has changed it")
        machine.type("go\n")
        machine.wait_for("AGAIN " + checksum(big))
        with Api(SOCKET) as api:
            known = api.get("vm.info")["config"]["fs"]
        assert known == [{"tag": "shared", "socket": str(shared.socket), "num_queues": 1, "queue_size": 1024,
                          "pci_segment": 0, "id": "_fs0"}]
        assert_passed(machine.wait())
    assert (shared.folder / "mapped").read_bytes()[4096:4100] == b"text"
    assert shared.wait() == 0


def test_directories_come_and_go_and_a_daemon_that_dies_takes_no_guest_along(quick, daemon, tmp_path):
    """Also: the driver that starts anew finds the daemon's successor."""
    cycles = 3
    with quick(WORK + f"""
echo READY
for i in $(seq {cycles}); do
    until mount -t virtiofs hot$i /mnt 2>/dev/null; do sleep 0.05; done
    python3 /run/work.py /mnt || exit 20
    umount /mnt || exit 22
    echo "USED $i"
    while ls /sys/bus/virtio/drivers/virtiofs | grep -q virtio; do sleep 0.05; done
    echo "WENT $i"
done
until mount -t virtiofs last /mnt 2>/dev/null; do sleep 0.05; done
cat /mnt/theirs && umount /mnt || exit 23
name=$(ls /sys/bus/virtio/drivers/virtiofs | grep virtio)
echo "LAST $name"
read _
echo $name >/sys/bus/virtio/drivers/virtiofs/unbind
echo $name >/sys/bus/virtio/drivers/virtiofs/bind
mount -t virtiofs last /mnt && cat /mnt/theirs || exit 24
echo "BACK"
read _
ls /mnt >/dev/null 2>&1 &
echo "LIVES"
read _
""", "--api-socket", SOCKET, timeout=300) as machine:
        machine.wait_for("READY")
        with Api(SOCKET) as api:
            before: dict[str, int] = {}
            for i in range(1, cycles + 1):
                one = daemon(f"hot{i}")
                added = api.put("vm.add-fs", {"tag": f"hot{i}", "socket": str(one.socket)})
                assert added["id"] == "_fs0" and added["bdf"].startswith("0000:00:"), added
                machine.wait_for(f"USED {i}\r")
                api.put("vm.remove-device", {"id": "_fs0"})
                machine.wait_for(f"WENT {i}\r")
                assert one.wait() == 0
                assert api.get("vm.info")["config"]["fs"] == []
                if i == 1:
                    before = resources(machine.pid)
            after = resources(machine.pid)
            assert after["fds"] <= before["fds"] and after["threads"] == before["threads"], (before, after)

            last = daemon("last")
            api.put("vm.add-fs", {"tag": "last", "socket": str(last.socket)})
            machine.wait_for("LAST ")
            last.process.kill()
            last.wait()
            while "its daemon is gone" not in machine.stderr_text():
                select.select([], [], [], 0.05)
            assert machine.stderr_text().count("_fs0: stopped until the driver resets it") == 1
            # Its successor is found when the driver starts anew; that one dies with a guest that uses it.
            last = daemon("last")
            machine.type("go\n")
            machine.wait_for("BACK")
            last.process.kill()
            last.wait()
            machine.type("go\n")
            machine.wait_for("LIVES")
            assert api.get("vm.info")["state"] == "Running"
            api.put("vm.pause")
            api.put("vm.resume")
            error = None
            try:
                api.put("vm.snapshot", {"destination_url": f"file://{tmp_path}", "live": True})
            except Exception as refused:  # noqa: BLE001 (the answer is looked at)
                error = refused
            assert error is not None and error.status == 409 and "_fs0" in str(error), error
            api.put("vm.remove-device", {"id": "_fs0", "force": True})
            assert api.get("vm.info")["config"]["fs"] == []
            api.put("vm.shutdown")


#: Has a file open, and a folder that was renamed since, and writes and reads what it wrote. Reads a file piece by piece
#: into memory that only the daemon writes (O_DIRECT): it is still there when it is looked at again, wherever that is.
PIECE, PIECES = 2 << 20, 8
HOLD = f"""
PIECE={PIECE} PIECES={PIECES}
export PIECE PIECES
""" + """
mount -t virtiofs shared /mnt || exit 10
cat >/run/hold.py <<'END'
import fcntl, hashlib, mmap, os, sys, time
os.chdir("/mnt")
size, pieces = int(os.environ["PIECE"]), int(os.environ["PIECES"])
host = os.open("host", os.O_RDONLY)
fcntl.fcntl(host, fcntl.F_SETFL, os.O_DIRECT)  # not when it is opened: the host's tmpfs has none
sums = open("host.md5").read().split()
room = mmap.mmap(-1, size)
def read(piece):
    assert os.preadv(host, [room], piece * size) == size
def check(piece, what):
    assert hashlib.md5(room).hexdigest() == sums[piece], what
read(0)
os.mkdir("before")
held = open("before/held", "w+")
gone = open("gone", "w+")
os.rename("before", "after")
count = 0
while not os.path.exists("stop"):
    count += 1
    held.seek(0)
    held.write(f"{count:08}")
    held.flush()
    held.seek(0)
    assert held.read(8) == f"{count:08}"
    check((count - 1) % pieces, "what was in memory is lost")
    read(count % pieces)
    check(count % pieces, "what the daemon reads is wrong")
    with open("after/new", "w") as file:
        file.write("x" * 100000)
    with open("after/new") as file:
        assert file.read() == "x" * 100000
    print("tick", count, flush=True)
    time.sleep(0.2)
assert open("after/held").read() == f"{count:08}"
END
python3 /run/hold.py || echo "WORK FAILED"
umount /mnt || echo "UMOUNT FAILED"
"""


def test_a_shared_directory_goes_along(server, config, daemon, tmp_path):  # noqa: F811
    """A snapshot, its restore, and a live migration, with what the guest has open; each has a daemon of its own."""
    first = daemon("first")
    pieces = [os.urandom(PIECE) for _ in range(PIECES)]
    (first.folder / "host").write_bytes(b"".join(pieces))
    (first.folder / "host.md5").write_text(" ".join(hashlib.md5(piece).hexdigest() for piece in pieces))
    a, b = server(), server()
    with a.api() as api:
        api.put("vm.create", config(HOLD + END, fs=[{"tag": "shared", "socket": str(first.socket), "num_queues": 1,
                                                     "queue_size": 1024, "pci_segment": 1}],
                                    platform={"num_pci_segments": 2}))
        api.put("vm.boot")
    a.wait_for("tick 3\r", timeout=120)
    second = daemon("second", first.folder)
    url = "unix:/run/fs-move.sock"
    sockets = [{"id": "_fs0", "socket": str(second.socket)}]
    answer = receive(b, url, [], fs_sockets=sockets)
    with answer, a.api(timeout=120) as api:
        # Slow enough for many reads meanwhile.
        api.put("vm.send-migration", {"destination_url": url, "bandwidth": 40 << 20})
        progress = wait_for_end(api)
        assert progress["status"] == "finished", progress
        wait_for_no_vm(api)
        assert answer.response().status == 204
    print(f"downtime {progress['downtime_us']} us, {progress['memory_transmission_info']}")
    assert first.wait() == 0
    b.wait_for("tick ", timeout=60)
    b.wait_for("tick ", timeout=60)
    folder = tmp_path / "saved"
    for place in (tmp_path / "unused", folder):
        place.mkdir()
    with b.api(timeout=120) as api:
        api.put("vm.pause")
        api.put("vm.snapshot", {"destination_url": f"file://{tmp_path / 'unused'}"})
        # Who goes on loses nothing.
        api.put("vm.resume")
        b.wait_for("tick ", timeout=60)
        api.put("vm.pause")
        api.put("vm.snapshot", {"destination_url": f"file://{folder}"})
        api.put("vm.delete")
    assert second.wait() == 0
    third = daemon("third", first.folder)
    c = server()
    with c.api(timeout=120) as api:
        sockets = [{"id": "_fs0", "socket": str(third.socket)}]
        api.put("vm.restore", {"source_url": f"file://{folder}", "resume": True, "fs_sockets": sockets})
        assert api.get("vm.info")["config"]["fs"][0]["socket"] == str(third.socket)
    c.wait_for("tick ", timeout=60)
    (first.folder / "stop").touch()
    c.wait_for("HAKO-TEST-EXIT=0", timeout=120)
