"""Speaks to hako's API socket as its clients do: HTTP/1.1, with descriptors where a call takes them."""

import json
import socket
from pathlib import Path
from typing import Any


class ApiError(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, chain: list[str]):
        super().__init__(f"{status}: {': '.join(chain)}")
        self.status = status
        self.chain = chain


class Api:
    """One connection to the socket at `path`, kept alive over the calls."""

    def __init__(self, path: Path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._input = self._socket.makefile("rb")

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_) -> None:
        self._input.close()
        self._socket.close()

    def get(self, name: str) -> Any:
        return self._call("GET", name, None, [])

    def put(self, name: str, body: Any = None, fds: list[int] | None = None) -> Any:
        return self._call("PUT", name, body, fds or [])

    def _call(self, method: str, name: str, body: Any, fds: list[int]) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} /api/v1/{name} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: {len(data)}\r\n\r\n"
        message = head.encode() + data
        sent = socket.send_fds(self._socket, [message], fds) if fds else self._socket.send(message)
        self._socket.sendall(message[sent:])
        status = int(self._input.readline().split()[1])
        length = 0
        while (line := self._input.readline().strip()):
            key, _, value = line.partition(b": ")
            if key == b"Content-Length":
                length = int(value)
        answer = json.loads(self._input.read(length)) if length else None
        if status >= 300:
            raise ApiError(status, answer or [])
        return answer
