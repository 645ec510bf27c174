"""A packet each millisecond for a bare-metal guest that sends each back, wherever it is just now."""

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.echo_peer import udp_frame

INTERVAL = 0.001
PAYLOAD = 42  # where it begins in a UDP frame


@dataclass
class Answer:
    """That a packet came back: to which connection, counted from 0, and when."""

    wire: int
    when: float
    number: int


class PacketStream:
    """Sends numbered packets to all who are connected to a stream socket, as a bridge does that does not know where a
    guest is, and keeps what comes back, in its order. Use as a context manager."""

    def __init__(self, path: Path):
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._wires: dict[int, socket.socket] = {}
        self._received: dict[int, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0
        self.answers: list[Answer] = []

    def __enter__(self) -> "PacketStream":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()
        for end in [self._listener, *self._wires.values()]:
            end.close()
        self.path.unlink()

    def stop(self) -> None:
        """Nothing more is sent, or kept."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            rest = max(due - time.monotonic(), 0)
            ready = select.select([self._listener, *self._wires.values()], [], [], rest)[0]
            # By connection: what an earlier one says came before what a later one says, if one takes over from the other.
            for number in [number for number, wire in sorted(self._wires.items()) if wire in ready]:
                self._receive(number)
            if self._listener in ready:
                number = len(self._received)
                self._wires[number] = self._listener.accept()[0]
                self._received[number] = b""
            if (now := time.monotonic()) >= due:
                due = max(due + INTERVAL, now)
                self._send()

    def _send(self) -> None:
        frame = udp_frame(self.sent.to_bytes(8))
        for wire in self._wires.values():
            # Who does not read misses it, as with a tap. A frame goes whole or not at all.
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                wire.send(len(frame).to_bytes(4) + frame, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        self.sent += bool(self._wires)

    def _receive(self, number: int) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self._wires[number].recv(1 << 16)
        if not data:
            self._wires.pop(number).close()
            return
        data = self._received[number] + data
        while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:4])):
            self.answers.append(Answer(number, time.monotonic(), int.from_bytes(data[4 + PAYLOAD:4 + PAYLOAD + 8])))
            data = data[end:]
        self._received[number] = data

    def gap(self) -> float:
        """Seconds from the last answer of the first connection to the first of the second, at most."""
        last = max(answer.when for answer in self.answers if answer.wire == 0)
        return min(answer.when for answer in self.answers if answer.wire == 1) - last
