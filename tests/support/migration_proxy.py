"""Stands between the source and the destination of a live migration, and knows its frames (docs/migration.md)."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HEADER = struct.Struct("<IHHII")
RUN = struct.Struct("<QII")
PAGE = 4096
NAMES = {1: "HELLO", 2: "ACCEPT", 3: "REFUSE", 4: "FD", 5: "JOIN", 6: "JOINED", 7: "PING", 8: "PAGES", 9: "ROUND",
         10: "ROUND_DONE", 11: "STATE", 12: "READY", 13: "LOCKS_RELEASED", 14: "LOCKED", 15: "GO", 16: "RUNNING",
         17: "ABORT", 18: "PAGE_REQUEST", 19: "MISSING", 20: "RECOVER"}
#: In the order in which they come first.
FROM_SOURCE = ["HELLO", "JOIN", "PAGES", "ROUND", "STATE", "LOCKS_RELEASED", "GO"]
FROM_DESTINATION = ["ACCEPT", "JOINED", "ROUND_DONE", "READY", "LOCKED", "RUNNING"]


@dataclass
class Fault:
    """What happens when the first frame of a kind comes by.

    Before the frame is passed on `strike` is called; `keep` bytes of it are passed on (None: all), and with `cut` all
    connections are closed then. With `swallow` they stay, and nothing comes through in that direction any more.
    `bend` gives other bytes for the frame's.
    """

    frame: str
    keep: int | None = None
    cut: bool = False
    swallow: bool = False
    strike: Callable[[], None] = lambda: None
    bend: Callable[[bytes], bytes] = lambda data: data
    struck: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Listens on a socket in `folder` and connects to the unix socket `target` for each that comes. A context manager."""

    def __init__(self, folder: Path, target: str, fault: Fault | None = None):
        self.path = f"{folder}/proxy.sock"
        self.url = f"unix:{self.path}"
        #: Names of the frames that came by, from either side.
        self.seen: list[str] = []
        self._target = target
        self._fault = fault
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._silent = {True: False, False: False}
        #: Whether who comes is sent away.
        self.closed = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "Proxy":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener.bind(self.path)
        self._listener.listen(16)
        self._threads[0].start()
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Closes every connection, both ways."""
        with self._lock:
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            if self.closed:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self._target)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._ends += [near, far]
            for read, write, from_source in [(near, far, True), (far, near, False)]:
                self._threads.append(threading.Thread(target=self._pump, args=(read, write, from_source)))
                self._threads[-1].start()

    def _pump(self, read: socket.socket, write: socket.socket, from_source: bool) -> None:
        stream = read.makefile("rb")
        with contextlib.suppress(OSError):
            while self._pass_frame(stream, write, from_source):
                pass
        for end in (read, write):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass_frame(self, stream, write: socket.socket, from_source: bool) -> bool:
        frame = stream.read(HEADER.size)
        if len(frame) < HEADER.size:
            return False
        _, kind, _, length, _ = HEADER.unpack(frame)
        frame += stream.read(length)
        name = NAMES.get(kind, "?")
        if name == "PAGES":
            runs = RUN.iter_unpack(frame[HEADER.size:])
            frame += stream.read(sum(PAGE * pages for _, pages, zero in runs if not zero))
        self.seen.append(name)
        fault = self._fault
        if fault and fault.frame == name and not fault.struck.is_set():
            fault.strike()
            fault.struck.set()
            frame = fault.bend(frame)[:fault.keep]
            if fault.swallow:
                self._silent[from_source] = True
            elif frame:
                write.sendall(frame)
            if fault.cut:
                self.cut()
                return False
            return True
        if not self._silent[from_source]:
            write.sendall(frame)
        return True
