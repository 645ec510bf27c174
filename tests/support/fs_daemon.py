"""Stands in for virtiofsd where the guest asks nothing of it: vhost-user's messages, and a state that goes along."""

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path

HEADER = struct.Struct("=III")
NUMBER = struct.Struct("=Q")
REPLY, NEEDS_REPLY = 4, 8
VERSION_1, LOG_ALL, PROTOCOL_FEATURES = 1 << 32, 1 << 26, 1 << 30
LOG_SHMFD, REPLY_ACK, DEVICE_STATE = 1 << 1, 1 << 3, 1 << 19
GET_FEATURES, GET_PROTOCOL_FEATURES, SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE = 1, 15, 42, 43
SAVE = 0
NO_FD = 1 << 8
STATE = b"what the daemon knows"
ANSWERS = {GET_FEATURES: VERSION_1 | LOG_ALL | PROTOCOL_FEATURES,
           GET_PROTOCOL_FEATURES: LOG_SHMFD | REPLY_ACK | DEVICE_STATE, CHECK_DEVICE_STATE: 0, SET_DEVICE_STATE_FD: NO_FD}


class FsDaemon:
    """Listens at `path` and serves all that come. A context manager."""

    def __init__(self, path: Path):
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._threads = [threading.Thread(target=self._accept)]
        self._ends: list[socket.socket] = []

    def __enter__(self) -> "FsDaemon":
        self._threads[0].start()
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                end = self._listener.accept()[0]
            except OSError:
                return
            self._ends.append(end)
            self._threads.append(threading.Thread(target=self._serve, args=(end,)))
            self._threads[-1].start()

    def _serve(self, end: socket.socket) -> None:
        with end, contextlib.suppress(OSError):
            while self._answer(end):
                pass

    def _answer(self, end: socket.socket) -> bool:
        head, fds, _, _ = socket.recv_fds(end, HEADER.size, 8)
        if len(head) < HEADER.size:
            return False
        request, flags, size = HEADER.unpack(head)
        payload = end.recv(size, socket.MSG_WAITALL) if size else b""
        number = ANSWERS.get(request, 0 if flags & NEEDS_REPLY else None)
        if number is not None:
            end.sendall(HEADER.pack(request, 1 | REPLY, NUMBER.size) + NUMBER.pack(number))
        if request == SET_DEVICE_STATE_FD:
            self._move_state(payload, fds[0])
        for fd in fds:
            os.close(fd)
        return True

    @staticmethod
    def _move_state(payload: bytes, fd: int) -> None:
        if struct.unpack_from("=I", payload)[0] == SAVE:
            os.write(fd, STATE)
        else:
            while os.read(fd, 4096):
                pass
