"""Speaks to hako's API socket as its clients do: HTTP/1.1, with descriptors where a call takes them."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ApiError(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, chain: list[str]):
        super().__init__(f"{status}: {': '.join(chain)}")
        self.status = status
        self.chain = chain


@dataclass
class Response:
    """An answer as it came."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """One connection to the socket at `path`, kept alive over the calls."""

    def __init__(self, path: Path, timeout: float = 30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self._input = self.socket.makefile("rb")

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._input.close()
        self.socket.close()

    def get(self, name: str) -> Any:
        return self._call("GET", name, None, [])

    def put(self, name: str, body: Any = None, fds: list[int] | None = None) -> Any:
        return self._call("PUT", name, body, fds or [])

    def ask(self, method: str, path: str, body: bytes = b"", fds: list[int] | None = None) -> Response:
        """Any request, and its answer whatever that is."""
        self.send(method, path, body, fds)
        return self.response()

    def send(self, method: str, path: str, body: bytes = b"", fds: list[int] | None = None) -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
        message = head.encode() + body
        sent = socket.send_fds(self.socket, [message], fds) if fds else self.socket.send(message)
        if sent < len(message):
            self.socket.sendall(message[sent:])

    def response(self) -> Response:
        line = self._input.readline().decode()
        if not line:
            raise ConnectionError("closed without an answer")
        version, status, reason = line.rstrip("\r\n").split(" ", 2)
        assert version == "HTTP/1.1", line
        headers = {}
        while (line := self._input.readline().decode().rstrip("\r\n")):
            key, _, value = line.partition(": ")
            headers[key] = value
        body = self._input.read(int(headers.get("Content-Length", 0)))
        return Response(int(status), reason, headers, body)

    def _call(self, method: str, name: str, body: Any, fds: list[int]) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        response = self.ask(method, f"/api/v1/{name}", data, fds)
        answer = response.json() if response.body else None
        if response.status >= 300:
            raise ApiError(response.status, answer or [])
        return answer


def refusal(call, *arguments, **options) -> ApiError:
    """The error with which a call is refused."""
    try:
        answer = call(*arguments, **options)
    except ApiError as error:
        return error
    raise AssertionError(f"{arguments} was not refused: {answer}")
