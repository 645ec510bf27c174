"""Snapshots and migrations, as far as they need no KVM: what is refused, and that nothing is left."""

import json

import pytest

from tests.contract.test_events import kept
from tests.support.api import refusal
from tests.support.serve import vm_config


def test_a_snapshot_needs_a_machine(api, tmp_path):
    assert refusal(api.put, "vm.snapshot", {"destination_url": f"file://{tmp_path}"}).status == 404
    api.put("vm.create", vm_config())
    error = refusal(api.put, "vm.snapshot", {"destination_url": f"file://{tmp_path}"})
    assert error.status == 500 and "Created" in " ".join(error.chain)
    assert list(tmp_path.glob("memory*")) == []


@pytest.mark.parametrize("url", ["", "file://", "file://relative", "http://x/y", "/plain"])
def test_a_place_that_is_no_url_of_a_folder(api, url):
    assert "source_url" in " ".join(refusal(api.put, "vm.restore", {"source_url": url}).chain)


def test_nothing_is_restored_from_nothing(api, tmp_path):
    error = refusal(api.put, "vm.restore", {"source_url": f"file://{tmp_path}"})
    assert error.status == 400 and "never finished" in " ".join(error.chain)
    for text in ["", "{}", "[]", "null", '{"format":"hako snapshot 1","snapshot":"00","vm":"00"}', "x" * 100]:
        (tmp_path / "state.json").write_text(text)
        assert refusal(api.put, "vm.restore", {"source_url": f"file://{tmp_path}"}).status == 400
    assert refusal(api.get, "vm.info").status == 404


def test_a_reception_is_cancelled(server, api, tmp_path):
    url = f"unix:{tmp_path}/in.sock"
    with server.api() as waiting:
        waiting.send("PUT", "/api/v1/vm.receive-migration", json.dumps({"receiver_url": url}).encode())
        while not any(event["event"] == "migration-receive-ready" for event in kept(api)):
            pass
        assert api.get("vm.migration-progress")["role"] == "destination"
        # Nothing else may happen to the VM that comes.
        assert refusal(api.put, "vm.create", vm_config()).status == 409
        assert refusal(api.put, "vm.receive-migration", {"receiver_url": url}).status == 409
        api.put("vm.cancel-migration")
        assert waiting.response().status == 500
    assert api.get("vm.migration-progress")["status"] == "cancelled"
    assert not (tmp_path / "in.sock").exists()
    assert refusal(api.put, "vm.cancel-migration").status == 409
    api.put("vm.create", vm_config())


def test_the_process_ends_though_it_waits_for_a_vm(server, api, tmp_path):
    with server.api() as waiting:
        body = json.dumps({"receiver_url": f"unix:{tmp_path}/in.sock"}).encode()
        waiting.send("PUT", "/api/v1/vm.receive-migration", body)
        while not any(event["event"] == "migration-receive-ready" for event in kept(api)):
            pass
        assert server.terminate() == 0
    assert not (tmp_path / "in.sock").exists()


def test_a_vmm_shutdown_ends_a_reception(server, api, tmp_path):
    with server.api() as waiting:
        body = json.dumps({"receiver_url": f"unix:{tmp_path}/in.sock"}).encode()
        waiting.send("PUT", "/api/v1/vm.receive-migration", body)
        while not any(event["event"] == "migration-receive-ready" for event in kept(api)):
            pass
        api.put("vmm.shutdown")
    assert server.wait() == 0


@pytest.mark.parametrize("url", ["", "nowhere", "tcp:", "tcp:host", "tcp:host:99999999", "unix:", "file:///x"])
def test_an_address_that_is_none(api, url):
    error = refusal(api.put, "vm.receive-migration", {"receiver_url": url})
    assert error.status == 400 and "receiver_url" in " ".join(error.chain), error.chain
