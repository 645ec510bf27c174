"""Reads all that a guest writes to its serial port, from a process's standard output, as it comes."""

import contextlib
import fcntl
import os
import subprocess
import threading
import time

PIPE_BYTES = 1 << 20


class Console:
    """Reads all the time: a guest that says much loses nothing because a test looks elsewhere."""

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self._stream = process.stdout
        fcntl.fcntl(self._stream, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._changed = threading.Condition()
        self._text = bytearray()
        self._used = 0
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # closed when the process is over
            while data := os.read(self._stream.fileno(), 1 << 16):
                with self._changed:
                    self._take(time.monotonic(), data)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, _when: float, data: bytes) -> None:
        self._text += data

    def wait_for(self, text: str, timeout: float = 60) -> str:
        """What stands before `text`, once that has come; both are used up then."""
        wanted = text.encode()
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._text.find(wanted, self._used) >= 0, timeout)
            at = self._text.find(wanted, self._used)
            assert at >= 0, f"the guest did not write {text!r}\n--- console\n{self._rest()[-4000:]}"
            before = self._text[self._used:at]
            self._used = at + len(wanted)
            return before.decode(errors="replace")

    def skip(self) -> None:
        """Uses up all that came so far."""
        with self._changed:
            self._used = len(self._text)

    def _rest(self) -> str:
        return self._text[self._used:].decode(errors="replace")

    def text(self) -> str:
        """All that came so far; of a process that has ended, all."""
        if self._process.poll() is not None:
            self._reader.join(10)
        with self._changed:
            return self._text.decode(errors="replace")

    def close(self) -> None:
        """Once the process is over: takes what is still to come, and closes its end."""
        self._reader.join(10)
        self._stream.close()
