"""Copies of disks of the moment that a snapshot holds. Runs on any KVM."""

import os
import subprocess

import pytest

from tests.guest.test_migration import goes_on
from tests.guest.test_snapshot import api, boot, server, url  # noqa: F811,F401 (fixtures)
from tests.support.api import refusal


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(2 << 20) + bytes(2 << 20))
    return path


def test_a_disk_is_copied_with_the_snapshot(server, api, tmp_path, disk):  # noqa: F811
    boot(server, api, disks=[{"id": "data", "path": str(disk)}])
    for number, live in enumerate([True, False]):
        if not live:
            api.put("vm.pause")
        place = tmp_path / f"s{number}"
        place.mkdir()
        copy = place / "data.img"
        report = api.put("vm.snapshot", {"destination_url": url(place), "live": live,
                                         "disks": [{"id": "data", "path": str(copy), "copy": True}]})
        assert report["memory_bytes"] > 0
        assert copy.read_bytes() == disk.read_bytes()
    api.put("vm.resume")
    goes_on(server)


def test_a_copy_that_fails_leaves_nothing(server, api, tmp_path, disk):  # noqa: F811
    boot(server, api, disks=[{"id": "data", "path": str(disk)}])
    place = tmp_path / "snapshot"
    place.mkdir()
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        for fields, words in [
            ({"disks": [{"id": "data", "path": f"{small}/copy", "copy": True}]}, "No space left"),
            ({"disks": [{"id": "data", "path": f"{small}/copy"}]}, "cannot share its blocks"),
            ({"disks": [{"id": "data", "path": f"{small}/copy", "copy": True}], "hold_ms": 0}, "hold_ms"),
            ({"disks": [{"id": "none", "path": f"{small}/copy"}]}, "no disk none"),
            ({"disks": [{"id": "data", "path": str(disk)}]}, "File exists"),
        ]:
            error = refusal(api.put, "vm.snapshot", {"destination_url": url(place), "live": True, **fields})
            assert words in " ".join(error.chain), error.chain
            assert os.listdir(place) == [] and os.listdir(small) == []
            goes_on(server, 1)
    finally:
        subprocess.run(["umount", small], check=True)
    assert disk.exists()
