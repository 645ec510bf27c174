"""GET events: what happens, as lines of JSON with numbers."""

import json
import socket

import pytest

from tests.support.api import Api
from tests.support.serve import vm_config


class Stream:
    """GET events on a connection of its own, read chunk by chunk."""

    def __init__(self, server, query: str = ""):
        self.api = server.api()
        self.api.socket.sendall(f"GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self._input = self.api.socket.makefile("rb")
        head = []
        while (line := self._input.readline().strip()):
            head.append(line.decode())
        assert head[0] == "HTTP/1.1 200 OK"
        assert "Transfer-Encoding: chunked" in head and "Content-Type: application/x-ndjson" in head
        self._lines: list[str] = []

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_) -> None:
        self._input.close()
        self.api.close()

    def next(self) -> dict:
        while not self._lines:
            length = int(self._input.readline(), 16)
            piece = self._input.read(length)
            assert self._input.read(2) == b"\r\n"
            assert length, "the stream ended"
            self._lines = piece.decode().splitlines()
        return json.loads(self._lines.pop(0))


def kept(api: Api, query: str = "since=0&follow=false") -> list[dict]:
    answer = api.ask("GET", f"/api/v1/events?{query}")
    assert answer.status == 200
    return [json.loads(line) for line in answer.body.splitlines()]


def test_events_that_are_kept(api):
    api.put("vm.create", vm_config())
    api.put("vm.delete")
    events = kept(api)
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert [f"{event['source']}:{event['event']}" for event in events] == ["vmm:starting", "vm:created", "vm:deleted"]
    times = [(event["timestamp"]["secs"], event["timestamp"]["nanos"]) for event in events]
    assert times == sorted(times)
    assert [event["sequence"] for event in kept(api, "follow=false&since=2")] == [3]
    assert kept(api, "since=3&follow=false") == kept(api, "follow=false") == []
    assert kept(api, "since=18446744073709551615&follow=false") == []


def test_a_stream_brings_events_as_they_happen(server, api):
    with Stream(server) as stream:
        api.put("vm.create", vm_config())
        assert stream.next()["event"] == "created"
        api.put("vm.delete")
        deleted = stream.next()
        assert deleted["event"] == "deleted"
        with Stream(server, f"?since={deleted['sequence'] - 1}") as late:
            assert late.next() == deleted
            api.put("vm.create", vm_config())
            assert late.next() == stream.next()


def test_a_stream_from_the_beginning(server, api):
    api.put("vm.create", vm_config())
    with Stream(server, "?since=0") as stream:
        assert [stream.next()["event"] for _ in range(2)] == ["starting", "created"]


def test_old_events_are_forgotten(api):
    for _ in range(600):
        api.put("vm.create", vm_config())
        api.put("vm.delete")
    events = kept(api)
    assert len(events) == 1024
    assert [event["sequence"] for event in events] == list(range(events[-1]["sequence"] - 1023, 1202))


def test_streams_that_are_left_leave_nothing(server, api):
    api.get("vmm.ping")
    before = len(server.fds())
    streams = [Stream(server) for _ in range(50)]
    assert len(server.fds()) == before + 50
    for stream in streams[::2]:
        stream.__exit__()
    api.put("vm.create", vm_config())
    for stream in streams[1::2]:
        assert stream.next()["event"] == "created"
        stream.__exit__()
    api.put("vm.delete")
    for _ in range(1000):  # the server learns of it by itself
        if len(server.fds()) == before:
            break
        api.get("vmm.ping")
    assert len(server.fds()) == before


def test_a_client_that_only_listens_gets_its_stream(server, api):
    with Stream(server) as stream:
        stream.api.socket.shutdown(socket.SHUT_WR)
        api.put("vm.create", vm_config())
        assert stream.next()["event"] == "created"


def test_the_end_of_the_process_ends_streams(server, api):
    with Stream(server) as stream:
        api.put("vmm.shutdown")
        assert server.wait() == 0
        assert stream.next()["event"] == "shutdown"


def test_the_head_of_a_stream(api):
    api.socket.sendall(b"HEAD /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert api.response().status == 200
    assert api.get("vmm.ping")


@pytest.mark.parametrize("query", ["since=x", "since=-1", "since=", "since", "since=1x", "since=99999999999999999999",
                                   "follow=maybe", "follow="])
def test_a_query_that_makes_no_sense(api, query):
    answer = api.ask("GET", f"/api/v1/events?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.json()[-1]
