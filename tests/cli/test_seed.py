"""hako seed: disks without a VM, as other programs see them."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.hako import GUEST, HAKO

USER_DATA = "#cloud-config\nhostname: web\n"


def hako(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([HAKO, "seed", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60)


def refused(*arguments: object, words: str) -> None:
    result = hako(*arguments)
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert words in result.stderr


@pytest.fixture
def user_data(tmp_path: Path) -> Path:
    path = tmp_path / "user-data"
    path.write_text(USER_DATA)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    (path / "sub").mkdir(parents=True)
    (path / "grüße").write_text("hello\n")
    (path / "sub" / "binary").write_bytes(bytes(range(256)))
    return path


@pytest.mark.parametrize("form, name, label", [("iso9660", "iso9660", "cidata"), ("vfat", "vfat", "CIDATA")])
def test_a_seed_is_built_checked_and_shown(user_data, tmp_path, form, name, label):
    image = tmp_path / "seed.img"
    options = ["--cloud-init", f"{user_data},hostname=web,instance-id=i-1,format={form}"]
    checked = hako("check", *options)
    assert checked.returncode == 0, checked
    built = hako("build", *options, "--output", image)
    assert built.returncode == 0, built
    shown = hako("show", image)
    assert shown.stdout == built.stdout == checked.stdout
    assert shown.stdout.startswith(f"label {label}, {form}, {image.stat().st_size} bytes, checksum ")
    assert image.stat().st_mode & 0o777 == 0o600
    assert hako("show", image, "user-data").stdout == USER_DATA
    assert hako("show", image, "meta-data").stdout == 'local-hostname: "web"\ninstance-id: "i-1"\n'
    refused("show", image, "nothing", words="no file nothing")
    probe = subprocess.run(["/sbin/blkid", "-p", "-o", "value", "-s", "LABEL", "-s", "TYPE", image], text=True,
                           capture_output=True, check=True)
    assert probe.stdout.split() == [label, name]


def test_a_folder_is_a_disk(folder, tmp_path):
    image = tmp_path / "disk.iso"
    assert hako("build", "--helper-disk", f"id=cm,folder={folder},label=config,mode=0400", "--output", image).returncode == 0
    listing = subprocess.run(["bsdtar", "-tvf", image], text=True, capture_output=True, check=True,
                             env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
    assert [line.split()[0] for line in listing.splitlines()].count("-r--------") == 2
    assert "grüße" in listing and "sub/binary" in listing
    content = subprocess.run(["bsdtar", "-xOf", image, "sub/binary"], capture_output=True, check=True).stdout
    assert content == bytes(range(256))


def test_what_genisoimage_and_mkfs_write_is_shown(folder, user_data, tmp_path):
    iso, fat = tmp_path / "other.iso", tmp_path / "other.img"
    subprocess.run(["genisoimage", "-quiet", "-V", "cidata", "-R", "-J", "-o", iso, folder], check=True, capture_output=True)
    shown = hako("show", iso)
    assert shown.returncode == 0, shown
    assert shown.stdout.startswith("label cidata, iso9660, ")
    assert "sub/binary" in shown.stdout and "grüße" in shown.stdout
    subprocess.run(["/sbin/mkfs.fat", "-C", "-n", "CIDATA", fat, "1440"], check=True, capture_output=True)
    subprocess.run(["mcopy", "-i", fat, user_data, "::user-data"], check=True)
    shown = hako("show", fat)
    assert shown.stdout.startswith("label CIDATA, vfat, ")
    assert hako("show", fat, "user-data").stdout == USER_DATA


@pytest.mark.parametrize("text, words", [
    ("hostname: x\n", "#cloud-config"), ("#cloud-config\na: 1\n b: 2\n", "line 3, column"), ("#!" + "x" * (1 << 20), "1 MiB"), ],
                         ids=["header", "yaml", "length"])
def test_what_cloud_init_would_not_understand(user_data, tmp_path, text, words):
    user_data.write_text(text)
    image = tmp_path / "seed.img"
    refused("check", "--cloud-init", user_data, words=words)
    refused("build", "--cloud-init", user_data, "--output", image, words=words)
    assert not image.exists()


def test_what_no_disk_can_be(folder, user_data, tmp_path):
    (folder / "large").write_bytes(bytes((2 << 20) + 1))
    refused("check", "--helper-disk", f"id=cm,folder={folder}", words="larger than 2 MiB")
    with open(folder / "large", "wb") as file:
        file.truncate(100 << 20)
    refused("check", "--helper-disk", f"id=cm,folder={folder}", words="larger than 2 MiB")
    (folder / "large").unlink()
    refused("check", "--helper-disk", f"id=cm,folder={folder},format=vfat,mode=0400", words="vfat keeps no mode")
    refused("check", "--helper-disk", f"id=cm,folder={folder},format=ext4", words="iso9660 or vfat")
    refused("check", "--helper-disk", f"id=cm,folder={folder},mode=0800", words="octal")
    refused("check", "--helper-disk", f"id=cm,folder={tmp_path / 'missing'}", words="missing")
    refused("check", "--helper-disk", "id=cm", words="folder=PATH is missing")
    refused("check", "--cloud-init", user_data, "--helper-disk", f"id=cm,folder={folder}", words="one --cloud-init or one")
    refused("check", words="one --cloud-init or one")
    refused("build", "--cloud-init", user_data, words="--output is missing")
    refused("build", "--cloud-init", user_data, "--output", tmp_path / "no" / "where", words="--output")
    refused("show", tmp_path / "missing.iso", words="missing.iso")
    refused("show", user_data, words="neither ISO 9660 nor FAT")
    refused("show", words="which image")
    refused("melt", words="must be build, check or show")


def test_a_vm_takes_folders_and_a_seed(folder, user_data, tmp_path):
    result = subprocess.run([HAKO, "run", "--check", "--kernel", GUEST, "--cloud-init", user_data, "--helper-disk",
                             f"id=cm,folder={folder}"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result
    result = subprocess.run([HAKO, "run", "--check", "--kernel", GUEST, "--helper-disk", f"id=cm,folder={folder}",
                             "--helper-disk", f"id=cm,folder={folder}"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and "ids must differ" in result.stderr, result
