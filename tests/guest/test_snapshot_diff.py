"""Snapshots of what was written since another one, of machines that write all the time. Runs on any KVM."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guest.test_migration import goes_on
from tests.guest.test_snapshot import api, boot, flip, server, url  # noqa: F401 (fixtures)
from tests.support.api import refusal
from tests.support.hako import HAKO
from tests.support.serve import Server

MODES = ["Copy", "OnDemand"]


def take(api, place: Path, **fields) -> dict:  # noqa: F811
    place.mkdir()
    return api.put("vm.snapshot", {"destination_url": url(place), **fields})


def merge(*folders: object) -> subprocess.CompletedProcess:
    return subprocess.run([HAKO, "snapshot", "merge", *map(str, folders)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)


def check_copy(tmp_path: Path, folder: Path, mode: str) -> None:
    """A VM from it goes on, and finds its memory as it was."""
    home = tmp_path / f"copy-{folder.name}-{mode}"
    home.mkdir()
    with Server(home) as copy, copy.api() as other:
        other.put("vm.restore", {"source_url": url(folder), "resume": True, "memory_restore_mode": mode})
        goes_on(copy)


@pytest.mark.parametrize("live", [True, False])
def test_a_chain_of_snapshots(server, api, tmp_path, live):  # noqa: F811
    boot(server, api)
    full = take(api, tmp_path / "s0", live=True, track=True)
    for number in range(1, 4):
        goes_on(server, 2)
        if not live:
            api.put("vm.pause")
        report = take(api, tmp_path / f"s{number}", live=live, track=True, base_url=url(tmp_path / f"s{number - 1}"))
        if not live:
            api.put("vm.resume")
        # Each round, and what the pause copies.
        assert 0 < report["memory_bytes"] <= full["memory_bytes"] * (report["rounds"] + 1)
    goes_on(server)
    merged = merge(*(tmp_path / f"s{number}" for number in range(4)), tmp_path / "merged")
    assert merged.returncode == 0, merged
    for mode in MODES:
        check_copy(tmp_path, tmp_path / "s3", mode)
        check_copy(tmp_path, tmp_path / "merged", mode)


@pytest.mark.parametrize("mode", MODES)
def test_restored_and_saved_again_by_what_changed(server, api, tmp_path, mode):  # noqa: F811
    """Each generation stands on the one before."""
    boot(server, api)
    take(api, tmp_path / "s0", live=True)
    for number in range(1, 4):
        api.put("vm.delete")
        api.put("vm.restore", {"source_url": url(tmp_path / f"s{number - 1}"), "memory_restore_mode": mode, "track": True,
                               "resume": True})
        goes_on(server, 2)
        take(api, tmp_path / f"s{number}", live=True, base_url=url(tmp_path / f"s{number - 1}"), track=False)
        goes_on(server, 1)
    for check in MODES:
        check_copy(tmp_path, tmp_path / "s3", check)


def test_a_snapshot_of_mapped_memory_reads_no_holes(server, api, tmp_path):  # noqa: F811
    boot(server, api, memory={"size": 1 << 30})
    take(api, tmp_path / "s0", live=True)
    api.put("vm.delete")
    api.put("vm.restore", {"source_url": url(tmp_path / "s0"), "memory_restore_mode": "OnDemand", "resume": True})
    goes_on(server)
    report = take(api, tmp_path / "s1", live=True)
    assert report["memory_bytes"] < 64 << 20
    # Nor do they take memory in the page cache.
    resident = int(subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", tmp_path / "s0" / "memory-ranges"],
                                  capture_output=True, text=True, check=True).stdout)
    assert resident < 512 << 20
    check_copy(tmp_path, tmp_path / "s1", "Copy")


def test_what_the_log_does_not_know_is_refused(server, api, tmp_path):  # noqa: F811
    boot(server, api)
    take(api, tmp_path / "s0", live=True)
    (tmp_path / "diff").mkdir()
    wanted = {"destination_url": url(tmp_path / "diff"), "live": True}

    def words(base: str) -> str:
        return " ".join(refusal(api.put, "vm.snapshot", {**wanted, "base_url": url(tmp_path / base)}).chain)

    assert "not logged" in words("s0")
    take(api, tmp_path / "s1", live=True, track=True)
    assert "since another snapshot" in words("s0")
    assert "No such file" in words("nowhere") or "no snapshot" in words("nowhere")
    # Another machine has another memory.
    api.put("vm.reboot")
    assert "not logged" in words("s1")
    assert os.listdir(tmp_path / "diff") == []
    goes_on(server)


def test_a_disk_that_is_full_costs_no_change(server, api, tmp_path):  # noqa: F811
    """The differential snapshot after one that failed has what both would have had."""
    boot(server, api)
    take(api, tmp_path / "s0", live=True, track=True)
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        error = refusal(api.put, "vm.snapshot", {"destination_url": url(small), "live": True, "track": True,
                                                 "base_url": url(tmp_path / "s0")})
        assert "No space left" in " ".join(error.chain), error.chain
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)
    goes_on(server)
    take(api, tmp_path / "s1", live=True, base_url=url(tmp_path / "s0"))
    check_copy(tmp_path, tmp_path / "s1", "Copy")


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A full snapshot and one upon it, not to be changed."""
    home = tmp_path_factory.mktemp("chain")
    with Server(home) as running, running.api() as connection:
        boot(running, connection)
        take(connection, home / "base", live=True, track=True)
        goes_on(running, 1)
        take(connection, home / "diff", live=True, base_url=url(home / "base"))
    return home


@pytest.mark.parametrize("how, words", [
    ("base missing", "hako snapshot merge"),
    ("wrong base", "is not the snapshot that"),
    ("base unfinished", "never finished"),
    ("memory cut", "cut"),
    ("memory flipped", "checksum"),
    ("base flipped", "checksum"),
    ("pages flipped", "changed-pages"),
    ("no pages", "changed-pages"),
])
def test_a_chain_that_is_broken_is_refused(server, api, chain, tmp_path, how, words):  # noqa: F811
    base, diff = tmp_path / "base", tmp_path / "diff"
    for name in ("base", "diff"):
        subprocess.run(["cp", "--sparse=always", "-r", chain / name, tmp_path], check=True)
    # The folder is named in a state with a checksum: the copy of its base has to lie where the original does.
    hidden = chain / "hidden"
    os.rename(chain / "base", hidden)
    try:
        shutil.move(base, chain / "base")
        match how:
            case "base missing":
                shutil.rmtree(chain / "base")
            case "wrong base":
                shutil.rmtree(chain / "base")
                take_new(tmp_path, chain / "base")
            case "base unfinished":
                (chain / "base" / "state.json").unlink()
            case "memory cut":
                os.truncate(diff / "memory-ranges", 1 << 20)
            case "memory flipped":
                flip(diff / "memory-ranges", (16 << 20) + 3)
            case "base flipped":
                flip(chain / "base" / "memory-ranges", (1 << 20) + 3)
            case "pages flipped":
                flip(diff / "changed-pages", 5)
            case "no pages":
                (diff / "changed-pages").unlink()
        error = refusal(api.put, "vm.restore", {"source_url": url(diff)})
        assert words in " ".join(error.chain), error.chain
        assert refusal(api.get, "vm.info").status == 404
        if how != "base missing":
            merged = merge(chain / "base", diff, tmp_path / "out")
            assert merged.returncode == 2 and merged.stdout == "", merged
            assert len(merged.stderr.splitlines()) == 1 and words in merged.stderr, merged.stderr
            assert not (tmp_path / "out").exists()
    finally:
        shutil.rmtree(chain / "base", ignore_errors=True)
        os.rename(hidden, chain / "base")


def take_new(tmp_path: Path, place: Path) -> None:
    """A snapshot of another VM."""
    home = tmp_path / "other"
    home.mkdir()
    with Server(home) as other, other.api() as connection:
        boot(other, connection)
        take(connection, place, live=True)


@pytest.mark.parametrize("arguments, words", [
    ([], "merge BASE DIFF... OUT"),
    (["split"], "merge BASE DIFF... OUT"),
    (["merge", "a", "b"], "give a full snapshot"),
    (["merge", "/nowhere", "/nowhere", "/nowhere"], "no snapshot"),
])
def test_what_cannot_be_merged_is_refused(arguments, words):
    result = subprocess.run([HAKO, "snapshot", *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result
    assert words in result.stderr
