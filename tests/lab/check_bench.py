"""`hako bench` beside QEMU, as briefly as can be. Two minutes of booting guests, so only when asked for: tools/check compare"""

import json
import subprocess

import pytest

from tests.support import bench


def measure(subject: str, folder, *arguments: object) -> list[dict]:
    result = subprocess.run(bench.words(subject, folder, "--json", "--rounds", 1, "--seconds", 1, *arguments),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["rows"]


def assert_measured(figures: dict) -> None:
    assert figures["rate"] > 0
    assert figures["cpu_us"] >= figures["host_cpu_us"] > 0
    assert figures["system_calls"] >= 0
    assert figures["exits"] > 0


def test_disks(tmp_path):
    with bench.null_disk(256) as disk:
        (row,) = measure("blk", tmp_path, "--directory", disk, "--size", "32M", "--job", "randread-4k-8")
    assert (row["name"], row["unit"]) == ("randread-4k-8", "request")
    assert_measured(row["hako"])
    assert_measured(row["qemu"])
    assert row["host"]["rate"] > 0
    assert row["ratio"]["rate"] == pytest.approx(row["hako"]["rate"] / row["qemu"]["rate"])


def test_vsocks(tmp_path):
    bench.allow_vsock()
    rows = measure("vsock", tmp_path, "--job", "vsock-send", "--job", "vsock-echo-64")
    assert [(row["name"], row["unit"]) for row in rows] == [("vsock-send", "MiB"), ("vsock-echo-64", "message")]
    for row in rows:
        assert_measured(row["hako"])
        assert_measured(row["qemu"])


def test_shared_directories(tmp_path):
    with bench.null_disk(256) as disk:
        rows = measure("fs", tmp_path, "--directory", disk, "--size", "32M", "--job", "fs-read-1m-4", "--job", "fs-stat")
    assert [(row["name"], row["unit"]) for row in rows] == [("fs-read-1m-4", "request"), ("fs-stat", "file")]
    for row in rows:
        assert_measured(row["hako"])
        assert_measured(row["qemu"])


def test_networks(tmp_path):
    rows = measure("net", tmp_path, "--job", "ping-64")
    assert [row["name"] for row in rows] == ["ping-64", "ping-64/vhost"]
    for row in rows:
        assert_measured(row["hako"])
        assert_measured(row["qemu"])
    assert rows[1]["hako"]["system_calls"] < rows[0]["hako"]["system_calls"]
