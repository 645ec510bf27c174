"""Snapshots of machines that write all the time, and machines that go on from them. Runs on any KVM."""

import json
import os
import re
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.guest.test_migration import goes_on
from tests.support.api import refusal
from tests.support.hako import BUILD, HAKO, ROOT
from tests.support.serve import Server, vm_config

FIXTURES = ROOT / "tests" / "fixtures"
TTY = {"serial": {"mode": "Tty"}}


def url(folder: Path) -> str:
    return f"file://{folder}"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "snapshot"
    path.mkdir()
    return path


@pytest.fixture
def server(tmp_path):
    (tmp_path / "first").mkdir()
    with Server(tmp_path / "first") as running:
        yield running


@pytest.fixture
def api(server):
    with server.api() as connection:
        yield connection


def boot(server, api, **fields) -> None:
    api.put("vm.create", vm_config("dirty", **TTY, **fields))
    api.put("vm.boot")
    goes_on(server, 1)


@pytest.mark.parametrize("mode", ["Copy", "OnDemand"])
def test_a_paused_vm_comes_back(server, api, folder, tmp_path, mode):
    boot(server, api)
    assert refusal(api.put, "vm.snapshot", {"destination_url": url(folder)}).status == 500
    api.put("vm.pause")
    assert api.put("vm.snapshot", {"destination_url": url(folder)}) is None
    assert sorted(os.listdir(folder)) == ["config.json", "memory-ranges", "page-checksums", "state.json"]
    assert api.get("vm.info")["state"] == "Paused"
    api.put("vm.resume")
    goes_on(server)
    api.put("vm.delete")
    (tmp_path / "second").mkdir()
    with Server(tmp_path / "second") as second, second.api() as other:
        other.put("vm.restore", {"source_url": url(folder), "memory_restore_mode": mode})
        assert other.get("vm.info")["state"] == "Paused"
        other.put("vm.resume")
        goes_on(second)


def test_a_running_vm_is_caught_in_one_moment(server, api, folder, tmp_path):
    boot(server, api)
    for number in range(5):
        place = folder / str(number)
        place.mkdir()
        report = api.put("vm.snapshot", {"destination_url": url(place), "live": True})
        assert report["rounds"] >= 1 and report["memory_bytes"] > 0
        assert api.get("vm.info")["state"] == "Running"
        goes_on(server, 1)
        home = tmp_path / f"copy{number}"
        home.mkdir()
        with Server(home) as copy, copy.api() as other:
            other.put("vm.restore", {"source_url": url(place), "resume": True})
            goes_on(copy)
    goes_on(server)


def test_generations(server, api, folder, tmp_path):
    """A restored VM is saved and restored again."""
    boot(server, api)
    api.put("vm.snapshot", {"destination_url": url(folder), "live": True})
    api.put("vm.delete")
    for number in range(4):
        api.put("vm.restore", {"source_url": url(folder), "resume": True,
                               "memory_restore_mode": ["Copy", "OnDemand"][number % 2]})
        goes_on(server, 2)
        folder = tmp_path / f"generation{number}"
        folder.mkdir()
        api.put("vm.snapshot", {"destination_url": url(folder), "live": True})
        goes_on(server, 2)
        api.put("vm.delete")


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def damage(folder: Path, how: str) -> str:
    """Damages a snapshot; what the refusal must speak of."""
    state = folder / "state.json"
    match how:
        case "no state":
            state.unlink()
            return "never finished"
        case "no memory":
            (folder / "memory-ranges").unlink()
            return "memory-ranges"
        case "no checksums":
            (folder / "page-checksums").unlink()
            return "page-checksums"
        case "no configuration":
            (folder / "config.json").unlink()
            return "config.json"
        case "memory flipped":
            flip(folder / "memory-ranges", (16 << 20) + 3)
            return "checksum"
        case "memory cut":
            os.truncate(folder / "memory-ranges", 1 << 20)
            return "cut"
        case "checksums flipped":
            flip(folder / "page-checksums", 5)
            return "checksum"
        case "state flipped":
            text = state.read_text()
            place = text.index('"vm":"') + 2000
            state.write_text(text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1:])
            return "checksum"
        case "state of another format":
            state.write_text(state.read_text().replace("hako snapshot 1", "hako snapshot 9"))
            return "format"
        case "another size":
            config = json.loads((folder / "config.json").read_text())
            config["memory"]["size"] = 128 << 20
            (folder / "config.json").write_text(json.dumps(config))
            return "memory"
        case "other CPUs":
            config = json.loads((folder / "config.json").read_text())
            config["cpus"] = {"boot_vcpus": 2, "max_vcpus": 2}
            (folder / "config.json").write_text(json.dumps(config))
            return "vCPU"
    raise AssertionError(how)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A finished snapshot, to be copied."""
    home = tmp_path_factory.mktemp("good")
    folder = home / "snapshot"
    folder.mkdir()
    with Server(home) as server, server.api() as api:
        boot(server, api)
        api.put("vm.snapshot", {"destination_url": url(folder), "live": True})
    return folder


@pytest.mark.parametrize("how", ["no state", "no memory", "no checksums", "no configuration", "memory flipped", "memory cut",
                                 "checksums flipped", "state flipped", "state of another format", "another size",
                                 "other CPUs"])
def test_a_damaged_snapshot_is_refused(server, api, good, folder, how):
    subprocess.run(["cp", "--sparse=always", "-r", f"{good}/.", folder], check=True)
    words = damage(folder, how)
    error = refusal(api.put, "vm.restore", {"source_url": url(folder)})
    assert error.status in (400, 500) and words in " ".join(error.chain), error.chain
    assert refusal(api.get, "vm.info").status == 404
    # Nothing is left, and the next one works.
    api.put("vm.restore", {"source_url": url(good), "resume": True})
    goes_on(server)


def test_a_place_that_will_not_do(api, server, folder, good):
    boot(server, api)
    for place, words in [(folder / "nowhere", "No such file"), (good, "there is a snapshot")]:
        error = refusal(api.put, "vm.snapshot", {"destination_url": url(place), "live": True})
        assert words in " ".join(error.chain), error.chain
    assert "destination_url" in " ".join(refusal(api.put, "vm.snapshot", {"destination_url": "/tmp"}).chain)
    goes_on(server)


def test_a_disk_that_is_full_leaves_nothing(server, api, tmp_path, folder):
    boot(server, api)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        error = refusal(api.put, "vm.snapshot", {"destination_url": url(folder), "live": True})
        assert "No space left" in " ".join(error.chain), error.chain
        assert os.listdir(folder) == []
        goes_on(server)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_vm_that_is_larger_than_the_host_is_refused(server, api, folder):
    """Such a VM may run, as long as it never fills its memory; a host that is to take one over says no."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    kib = sum(int(fields[name].split()[0]) for name in ("MemTotal", "SwapTotal"))
    boot(server, api, memory={"size": ((kib >> 20) + 2) << 30})
    api.put("vm.snapshot", {"destination_url": url(folder), "live": True})
    api.put("vm.delete")
    for mode in ("Copy", "OnDemand"):
        error = refusal(api.put, "vm.restore", {"source_url": url(folder), "memory_restore_mode": mode})
        assert error.status == 400 and "this host" in " ".join(error.chain), error.chain
        assert refusal(api.get, "vm.info").status == 404


def test_a_state_can_be_shown(good):
    shown = subprocess.run([HAKO, "state", "show", good / "state.json"], capture_output=True, text=True, check=True)
    assert re.search(r'"vcpus": ?1\b', shown.stdout)


def vm_of(snapshot: Path, file: Path) -> Path:
    file.write_text(json.loads((snapshot / "state.json").read_text())["vm"])
    return file


@pytest.mark.parametrize("stored", ["snapshot-v1"])
def test_a_snapshot_of_an_older_hako_is_restored(server, api, good, tmp_path, stored):
    """One of each version of the format is kept; it gets this host's CPUs, since it has to be restored anywhere."""
    with tarfile.open(FIXTURES / f"{stored}.tar.xz") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / stored
    files = [vm_of(folder, tmp_path / "stored"), vm_of(good, tmp_path / "of-this-host")]
    adopted = subprocess.run([BUILD / "tests" / "guest" / "adopt-state", *files], capture_output=True, text=True, check=True)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "vm": adopted.stdout.strip()}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "payload": vm_config()["payload"]}))
    for mode in ("Copy", "OnDemand"):
        api.put("vm.restore", {"source_url": url(folder), "resume": True, "memory_restore_mode": mode})
        goes_on(server)
        api.put("vm.delete")


def test_each_copy_has_a_generation_id_of_its_own(server, api, folder, tmp_path):
    """And hears of it by the event device's interrupt; the one that was saved keeps its own, and so hears nothing."""
    api.put("vm.create", vm_config("generation", **TTY))
    api.put("vm.boot")
    server.wait_for("generation ")
    seen = {server.wait_for("\n")}
    api.put("vm.snapshot", {"destination_url": url(folder), "live": True})
    for number, mode in enumerate(["Copy", "OnDemand", "OnDemand"]):
        home = tmp_path / f"copy{number}"
        home.mkdir()
        with Server(home) as copy, copy.api() as other:
            other.put("vm.restore", {"source_url": url(folder), "resume": True, "memory_restore_mode": mode})
            copy.wait_for("changed ")
            seen.add(copy.wait_for("\n"))
            copy.wait_for("PASS: generation")
    assert len(seen) == 4, seen
    assert "changed" not in server.console_text()


SEED = {"user_data": "", "instance_id": "golden"}


@pytest.fixture
def golden(tmp_path, passt):
    """A snapshot of a VM with a disk, an interface and a disk for cloud-init."""
    home = tmp_path / "golden"
    folder = home / "snapshot"
    folder.mkdir(parents=True)
    (home / "disk.img").write_bytes(bytes(1 << 20))
    with Server(home) as server, server.api() as api:
        boot(server, api, disks=[{"id": "data", "path": str(home / "disk.img")}], cloud_init=SEED,
             net=[{"id": "lan", "socket": str(passt), "mac": "02:00:00:00:00:01"}])
        api.put("vm.snapshot", {"destination_url": url(folder), "live": True})
    return folder


@pytest.fixture
def passt(tmp_path):
    """A stream socket that takes connections and says nothing."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "passt"))
        listening.listen(16)
        yield tmp_path / "passt"


@pytest.mark.parametrize("fields, words", [
    ({"net": [{"id": "wan", "mac": "02:00:00:00:00:02"}]}, ["net[0].id", "wan"]),
    ({"net": [{"id": "lan"}, {"id": "lan"}]}, ["net[1].id", "once"]),
    ({"net": [{"id": "lan", "mac": "03:00:00:00:00:02"}]}, ["net[0].mac", "unicast"]),
    ({"net": [{"id": "lan", "tap": "a", "socket": "/b"}]}, ["net[0].tap", "socket"]),
    ({"net": [{"id": "lan", "tap": "a"}], "net_fds": [{"id": "lan", "num_fds": 1}]}, ["net[0].tap", "net_fds"]),
    ({"net": [{"id": "lan", "tap": "much too long for one"}]}, ["net[0].tap"]),
    ({"disks": [{"id": "nobody", "path": "/x"}]}, ["disks[0].id", "nobody"]),
    ({"disks": [{"id": "data", "path": "/nowhere"}]}, ["data", "/nowhere"]),
    ({"cloud_init": {"user_data": "nonsense"}}, ["cloud_init.user_data"]),
    ({"cloud_init": {"user_data": "", "network_config": "version: 9"}}, ["cloud_init.network_config", "version"]),
])
def test_what_no_clone_can_be_is_refused_by_its_field(server, api, golden, fields, words):
    error = refusal(api.put, "vm.restore", {"source_url": url(golden), **fields})
    assert error.status == 400, error
    for word in words:
        assert word in " ".join(error.chain), error.chain
    assert refusal(api.get, "vm.info").status == 404
    api.put("vm.restore", {"source_url": url(golden), "resume": True})
    goes_on(server)


def test_a_clone_has_its_own_image_and_waits_for_its_guest(server, api, golden, tmp_path):
    """This guest never lets go of anything: what is to come goes on into the next snapshot, and is there at a boot."""
    mine = tmp_path / "mine.img"
    mine.write_bytes(bytes(1 << 20))
    seed = {**SEED, "instance_id": "clone"}
    api.put("vm.restore", {"source_url": url(golden), "resume": True, "disks": [{"id": "data", "path": str(mine)}],
                           "net": [{"id": "lan", "mac": "02:00:00:00:00:02"}], "cloud_init": seed})
    goes_on(server)
    before = api.get("vm.info")
    assert before["config"]["disks"][0]["path"] == str(mine) and before["config"]["net"][0]["mac"] == "02:00:00:00:00:01"
    again = tmp_path / "again"
    again.mkdir()
    api.put("vm.snapshot", {"destination_url": url(again), "live": True})
    api.put("vm.delete")
    api.put("vm.restore", {"source_url": url(again), "resume": True})
    goes_on(server)
    assert api.get("vm.info")["helper_disks"] == before["helper_disks"]
    api.put("vm.reboot")
    goes_on(server, 1)
    after = api.get("vm.info")
    assert after["config"]["net"][0]["mac"] == "02:00:00:00:00:02"
    assert after["helper_disks"] != before["helper_disks"]


def test_a_seed_comes_to_a_clone_that_had_none(server, api, folder):
    boot(server, api)
    api.put("vm.snapshot", {"destination_url": url(folder), "live": True})
    api.put("vm.delete")
    api.put("vm.restore", {"source_url": url(folder), "resume": True, "cloud_init": SEED})
    goes_on(server)
    assert [each["id"] for each in api.get("vm.info")["helper_disks"]] == ["__seed"]
