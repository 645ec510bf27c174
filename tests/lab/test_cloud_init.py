"""cloud-init's disk and helper disks, as stock Debian guests see them."""

import base64
import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.lab.conftest import artifact
from tests.lab.test_net import GUEST, HOST, tap  # noqa: F401 (a fixture)
from tests.support.hako import HAKO, ROOT, Machine
from tests.support.serve import Server

BINARY = bytes(range(256)) * 17

#: As a ConfigMap and a Secret may have them.
FILES = {
    "application.properties": {"content": "colour=blue\n"},
    "token": {"content": "sEcReT", "mode": 0o400},
    "run.sh": {"content": "#!/bin/sh\n", "mode": 0o755},
    "sub/folder/grüße 世界 😀.txt": {"content": "UTF-8\n", "mode": 0o640},
    "binary": {"base64": base64.b64encode(BINARY).decode()},
    "empty": "",
    "n" * 253: "the longest key of a ConfigMap\n",
}


def content(file: str | dict) -> bytes:
    if isinstance(file, str):
        return file.encode()
    return base64.b64decode(file["base64"]) if "base64" in file else file["content"].encode()


def mode(file: str | dict) -> int:
    return file.get("mode", 0o444) if isinstance(file, dict) else 0o444


def without_mode(file: str | dict) -> str | dict:
    return {key: value for key, value in file.items() if key != "mode"} if isinstance(file, dict) else file


def sums(files: dict) -> list[str]:
    return sorted(f"{hashlib.sha256(content(file)).hexdigest()}  ./{path}" for path, file in files.items())


def section(server: Server, name: str) -> list[str]:
    """The lines that the guest prints between `[name` and `name]`."""
    server.wait_for(f"[{name}\r\n", timeout=300)
    return server.wait_for(f"{name}]").splitlines()


def vm(folder: Path, script: str, root_disk: Path, *, cmdline: str = "", **fields) -> dict:
    """A Debian kernel that runs `script` in Debian's user space, then powers off."""
    (folder / "script").write_text(script)
    subprocess.run([ROOT / "tools" / "lab", "quick-initrd", "--kernel", "kernel", "--script", folder / "script",
                    "--output", folder / "initrd"], check=True)
    return {"payload": {"kernel": artifact("kernel"), "initramfs": str(folder / "initrd"),
                        "cmdline": f"console=ttyS0 panic=-1 hako.root=/dev/vda {cmdline}"},
            "memory": {"size": 1 << 30}, "disks": [{"path": str(root_disk)}], "serial": {"mode": "Tty"},
            "console": {"mode": "Off"}, **fields}


def images(pid: int) -> int:
    """How many images of disks the process has open."""
    return sum("hako-seed" in os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir())


# with_serial S: the name of that disk. other S OLD: the same, once it is another disk than OLD.
SCRIPT = """
with_serial() { grep -lsx "$1" /sys/block/vd?/serial | cut -d/ -f4; }
other() { until name=$(with_serial $1) && [ -n "$name" ] && [ "$name" != "$2" ]; do sleep 0.1; done; echo $name; }
mkdir -p /run/config /run/dos
mount -o ro /dev/$(with_serial CM0) /run/config || exit 10
mount -t vfat -o ro,utf8 "$(blkid -L CFGDATA)" /run/dos || exit 11
echo "[modes"; (cd /run/config && find . -type f -printf '%m %p\\n' | LC_ALL=C sort -k2); echo "modes]"
for place in config dos; do
    echo "[$place"; (cd /run/$place && find . -type f -exec sha256sum {} + | LC_ALL=C sort); echo "$place]"
done
[ "$(blkid -s LABEL -o value /dev/$(with_serial CM0))" = config ] || exit 12
dd if=/dev/zero of=/dev/$(with_serial CM0) bs=512 count=1 2>/dev/null && exit 13
umount /run/config
echo UNMOUNTED
until mount -o ro /dev/$(with_serial CM0) /run/config 2>/dev/null && grep -qs new /run/config/key; do
    umount /run/config 2>/dev/null
    sleep 0.1
done
old=$(with_serial CM0)
echo UPDATED
name=$(other CM0 $old)
umount /run/config || exit 14
mount -o ro /dev/$name /run/config && grep -qx newest /run/config/key || exit 15
umount /run/config
echo MOUNTED AGAIN
until [ -z "$(with_serial CM0)" ]; do sleep 0.1; done
old=$(with_serial DOS)
echo GONE
name=$(other DOS $old)
mkdir /run/forced
mount -t vfat -o ro,utf8 /dev/$name /run/forced && grep -qx forced /run/forced/key || exit 17
echo FORCED
dmesg --level=emerg,alert,crit | grep . && exit 18
exit 0
"""


def test_helper_disks_mount_change_and_go(tmp_path, root_disk):
    config = vm(tmp_path, SCRIPT, root_disk, helper_disks=[
        {"id": "cm", "label": "config", "serial": "CM0", "files": FILES},
        {"id": "dos", "serial": "DOS", "format": "vfat", "files": {path: without_mode(file) for path, file in FILES.items()}}])
    with Server(tmp_path, "-v") as server, server.api() as api:
        api.put("vm.create", config)
        api.put("vm.boot")
        modes = section(server, "modes")
        assert sorted(modes) == sorted(f"{mode(file):o} ./{path}" for path, file in FILES.items())
        assert section(server, "config") == sums(FILES)
        assert section(server, "dos") == sums(FILES)
        server.wait_for("UNMOUNTED")
        before = api.get("vm.info")["helper_disks"]
        api.put("vm.update-helper", {"id": "cm", "files": {"key": "new\n"}})
        server.wait_for("UPDATED")
        # The guest has it mounted by now.
        api.put("vm.pause")
        api.put("vm.update-helper", {"id": "cm", "files": {"key": "newest\n"}})
        api.put("vm.resume")
        server.wait_for("MOUNTED AGAIN")
        after = api.get("vm.info")["helper_disks"]
        assert {each["id"] for each in after} == {"cm", "dos"}
        assert {each["checksum"] for each in after} & {each["checksum"] for each in before} == {before[1]["checksum"]}
        api.put("vm.eject-helper", {"id": "cm"})
        server.wait_for("GONE")
        api.put("vm.update-helper", {"id": "dos", "files": {"key": "forced\n"}, "force": True})
        server.wait_for("FORCED")
        assert [each["id"] for each in api.get("vm.info")["helper_disks"]] == ["dos"]
        server.wait_for("HAKO-TEST-EXIT=0")
        lines = api.ask("GET", "/api/v1/events?follow=false&since=0").body.decode().splitlines()
        events = [json.loads(line)["event"] for line in lines if line]
        assert events.count("helper-updated") == 3 and events.count("device-removed") == 1, events
        assert images(server.pid) <= 2
        assert "sEcReT" not in server.stderr()


def test_a_guest_that_never_answers_has_new_content_after_a_reboot(tmp_path, root_disk):
    script = """
disk=$(grep -lsx CM0 /sys/block/vd?/serial | cut -d/ -f4)
mkdir -p /run/config
[ -z "$disk" ] || mount -o ro /dev/$disk /run/config || exit 1
echo "SAW $(cat /run/config/key 2>/dev/null || echo nothing)."
sleep 1000
"""
    config = vm(tmp_path, script, root_disk, cmdline="acpiphp.disable=1",
                helper_disks=[{"id": "cm", "serial": "CM0", "files": {"key": "old"}}])
    with Server(tmp_path) as server, server.api() as api:
        api.put("vm.create", config)
        api.put("vm.boot")
        server.wait_for("SAW old.", timeout=300)
        before = api.get("vm.info")["helper_disks"]
        for text in ("newer", "newest"):
            api.put("vm.update-helper", {"id": "cm", "files": {"key": text}})
        assert api.get("vm.info")["helper_disks"] == before
        api.put("vm.reboot")
        server.wait_for("SAW newest.", timeout=300)
        assert api.get("vm.info")["helper_disks"] != before
        # An eject takes back an update that waits.
        api.put("vm.update-helper", {"id": "cm", "files": {"key": "lost"}})
        api.put("vm.eject-helper", {"id": "cm"})
        api.put("vm.reboot")
        server.wait_for("SAW newest.", timeout=300)
        api.put("vm.shutdown")
        api.put("vm.eject-helper", {"id": "cm"})
        api.put("vm.boot")
        server.wait_for("SAW nothing.", timeout=300)
        assert images(server.pid) == 0


def mime(parts: dict[str, str], size: int) -> str:
    """A MIME message of these parts (type: text), the last one drawn out to `size` bytes in all."""
    boundary = "=====part====="
    text = f'Content-Type: multipart/mixed; boundary="{boundary}"\nMIME-Version: 1.0\n\n'
    for kind, part in parts.items():
        text += f'--{boundary}\nContent-Type: {kind}; charset="utf-8"\nMIME-Version: 1.0\n\n{part}'
    end = f"\n--{boundary}--\n"
    line = "# " + "x" * 77 + "\n"
    text += line * ((size - len(text.encode()) - len(end)) // len(line))
    return text + "#" * (size - len(text.encode()) - len(end)) + end


def ssh(options: list[object], command: str, **extra) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["ssh", "-F", "none", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o",
         "LogLevel=ERROR", "-o", "ConnectTimeout=60", "-o", "NumberOfPasswordPrompts=1", *map(str, options),
         f"hako@{GUEST}", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, **extra)


def test_cloud_init_sets_a_guest_up_from_an_iso_and_ssh_gets_in(tmp_path, root_disk, tap):  # noqa: F811
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    cloud_config = f"""#cloud-config
ssh_pwauth: true
users:
  - name: hako
    lock_passwd: false
    plain_text_passwd: wonderful
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: ["{key.with_suffix('.pub').read_text().strip()}"]
write_files:
  - path: /opt/binary
    encoding: b64
    permissions: "0640"
    content: {base64.b64encode(BINARY).decode()}
runcmd:
  - [sh, -c, "echo ran > /run/ran"]
  - [sh, -c, "systemctl start ssh; echo SET UP > /dev/ttyS0"]
"""
    user_data = mime({"text/cloud-config": cloud_config, "text/x-shellscript": "#!/bin/sh\necho script > /run/script\nexit 0\n"},
                     1 << 20)
    assert len(user_data.encode()) == 1 << 20
    mac = "02:00:00:00:00:07"
    network = f"version: 2\nethernets:\n  wire:\n    match: {{macaddress: '{mac}'}}\n    addresses: [{GUEST}/24]\n"
    config = {
        "payload": {"kernel": artifact("kernel"), "initramfs": artifact("initrd"),
                    "cmdline": "root=LABEL=root console=ttyS0 panic=-1"},
        "cpus": {"boot_vcpus": 2, "max_vcpus": 2}, "memory": {"size": 1 << 30}, "disks": [{"path": str(root_disk)}],
        "net": [{"tap": tap(), "mac": mac}], "serial": {"mode": "Tty"}, "console": {"mode": "Off"},
        "cloud_init": {"user_data": user_data, "network_config": network, "hostname": "seeded", "instance_id": "seeded-1",
                       "vendor_data": "#cloud-config\nfinal_message: VENDOR SAYS HELLO\ntimezone: Asia/Tokyo\n"},
    }
    with Server(tmp_path) as server, server.api() as api:
        api.put("vm.create", config)
        api.put("vm.boot")
        server.wait_for("SET UP", timeout=480)
        by_key = ["-i", key, "-o", "PasswordAuthentication=no"]
        done = ssh(by_key, "hostname; cat /run/ran /run/script; sudo sha256sum /opt/binary; stat -c %a /opt/binary; "
                   "sudo cat /var/lib/cloud/instance/user-data.txt | wc -c; readlink /etc/localtime; "
                   "sudo cat /run/cloud-init/status.json; ip -4 -o address; cat /var/lib/cloud/data/instance-id")
        assert done.returncode == 0, done
        for words in ("seeded\nran\n", f"{hashlib.sha256(BINARY).hexdigest()}  /opt/binary\n640\n", f"\n{1 << 20}\n",
                      "Asia/Tokyo", "DataSourceNoCloud [seed=/dev/vdb]", f"inet {GUEST}/24", "seeded-1"):
            assert words in done.stdout, done.stdout
        # The other way in.
        ask = tmp_path / "ask"
        ask.write_text("#!/bin/sh\necho $PASSWORD\n")
        ask.chmod(0o700)
        by_password = ["-o", "PubkeyAuthentication=no"]
        answer = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "PASSWORD": "wonderful"}
        done = ssh(by_password, "id -un", env=answer)
        assert (done.returncode, done.stdout) == (0, "hako\n"), done
        assert ssh(by_password, "id -un", env={**answer, "PASSWORD": "wrong"}).returncode != 0
        server.wait_for("VENDOR SAYS HELLO", timeout=300)
        ssh(by_key, "sudo systemctl poweroff")
        server.wait_for("reboot: Power down", timeout=120)
        assert "wonderful" not in server.stderr()


def test_cloud_init_finds_its_seed_on_vfat(tmp_path, root_disk):
    user_data = tmp_path / "user-data"
    user_data.write_text("""#cloud-config
runcmd:
  - [sh, -c, 'echo "FOUND $(hostname) $(cat /run/cloud-init/status.json | tr -d "\\n")" > /dev/ttyS0']
power_state: {mode: poweroff, delay: now}
""")
    with Machine("--kernel", artifact("kernel"), "--initrd", artifact("initrd"), "--cmdline",
                 "root=LABEL=root console=ttyS0 panic=-1", "--cpus", 2, "--memory", "1G", "--disk", f"path={root_disk}",
                 "--cloud-init", f"{user_data},format=vfat,hostname=from-vfat", name="vfat", timeout=500) as machine:
        outcome = machine.wait()
    assert outcome.code == 0, outcome
    found = [line for line in outcome.console.splitlines() if "FOUND from-vfat" in line]
    assert found and "DataSourceNoCloud [seed=/dev/vdb]" in found[0], outcome


#: In Debian's cloud-init: "good NAME" or "bad NAME" for each file.
SCHEMA = """
import pathlib, sys
from cloudinit.config.schema import get_schema, validate_cloudconfig_file
schema = get_schema()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        validate_cloudconfig_file(str(path), schema)
        print("good", path.name)
    except Exception as error:
        print("bad", path.name, str(error).replace(chr(10), " ")[:200])
"""


def test_cloud_inits_own_schema_agrees_about_its_examples(root_disk):
    root, place = Path("/run/debian"), Path("/run/debian/tmp")
    root.mkdir()
    subprocess.run(["mount", "-o", "ro,noload", root_disk, root], check=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmp", place], check=True)
        examples = place / "examples"
        examples.mkdir()
        taken = set()
        for path in (root / "usr/share/doc/cloud-init/examples").glob("cloud-config*"):
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            if not data.startswith(b"#cloud-config\n"):
                continue
            example = examples / path.name.split(".")[0]
            example.write_bytes(data)
            if subprocess.run([HAKO, "seed", "check", "--cloud-init", example], capture_output=True).returncode == 0:
                taken.add(example.name)
        for name, text in {"broken-indent": "#cloud-config\na: 1\n b: 2\n", "broken-list": "#cloud-config\na: [1\n",
                           "list": "#cloud-config\n- a\n"}.items():
            (examples / name).write_text(text)
            checked = subprocess.run([HAKO, "seed", "check", "--cloud-init", examples / name], capture_output=True)
            assert checked.returncode == 2, checked
        (place / "schema.py").write_text(SCHEMA)
        result = subprocess.run(["/usr/sbin/chroot", root, "/usr/bin/python3", "/tmp/schema.py", "/tmp/examples"], capture_output=True,
                                text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        assert result.returncode == 0, result
        print(result.stdout)
        good = {line.split()[1] for line in result.stdout.splitlines() if line.startswith("good")}
    finally:
        subprocess.run(["umount", "-R", root], check=False)
        root.rmdir()
    assert len(taken) > 20
    assert taken == good, result.stdout
