"""Runs hako for tests: with its serial port on a pipe, under a time limit, leaving nothing behind."""

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("HAKO_BUILD", ROOT / "build")).absolute()
HAKO = BUILD / "tools" / "hako" / "hako"
GUEST = BUILD / "tests" / "guest" / "probe.elf"


@dataclass
class Outcome:
    """How a run of hako ended."""

    code: int
    console: str  # what the guest wrote to its serial port
    stderr: str  # what hako said

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stderr\n{self.stderr}\n--- console (end)\n{self.console[-4000:]}"


class Machine:
    """A running `hako run` whose serial port is this object's pipe. Use as a context manager."""

    def __init__(self, *arguments: object, name: str = "guest", timeout: float = 60, serial: str = "tty"):
        self._deadline = time.monotonic() + timeout
        self._console = b""
        consoles = os.environ.get("LAB_CONSOLES")
        # What the guest says is kept where the lab shows it when a test fails.
        self._log = open(Path(consoles) / f"{name}.console", "ab") if consoles else None
        self._stderr = os.memfd_create("stderr")
        self.process = subprocess.Popen(
            [HAKO, "run", "--serial", serial, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr)

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream:
                stream.close()
        os.close(self._stderr)

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self) -> bool:
        """Takes in some console output; False at its end. Fails the test when time is up."""
        rest = self._deadline - time.monotonic()
        ready = select.select([self.process.stdout], [], [], max(rest, 0))[0] if rest > 0 else []
        if not ready:
            self.process.kill()
            raise AssertionError(f"time limit exceeded\n{self._outcome()}")
        data = os.read(self.process.stdout.fileno(), 65536)
        self._console += data
        if self._log:
            self._log.write(data)
            self._log.flush()
        return bool(data)

    def wait_for(self, text: str) -> str:
        """All that the guest has written before `text`, once it has written that."""
        while text.encode() not in self._console:
            if not self._read():
                raise AssertionError(f"the guest ended before it wrote {text!r}\n{self._outcome()}")
        return self._console.partition(text.encode())[0].decode(errors="replace")

    def type(self, text: str) -> None:
        """Types into the guest's serial port."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def _outcome(self) -> Outcome:
        code = self.process.wait()
        return Outcome(code, self._console.decode(errors="replace"), self.stderr_text())

    def stderr_text(self) -> str:
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, size, 0).decode(errors="replace")

    def wait(self) -> Outcome:
        """Waits for the end of the run."""
        while self._read():
            pass
        return self._outcome()


def run(*arguments: object, **options) -> Outcome:
    """Runs hako with these arguments of `hako run` to its end."""
    with Machine(*arguments, **options) as machine:
        return machine.wait()
