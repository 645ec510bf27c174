"""Runs `hako serve` for tests: on a socket that the test listens on, leaving nothing behind."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.support.api import Api
from tests.support.console import Console
from tests.support.hako import GUEST, HAKO


class Server:
    """A running `hako serve`. Use as a context manager."""

    def __init__(self, folder: Path, *arguments: object, command: list[object] | None = None, make_socket: bool = True,
                 typing: bool = False, console: type[Console] = Console):
        """`make_socket`: hako gets a socket that listens already, and not a path. `typing`: type() writes to the
        terminal."""
        self.folder = folder
        self.socket = folder / "api.sock"
        listening = socket.socket(socket.AF_UNIX)
        if make_socket:
            # Who connects before hako is ready waits in the backlog.
            listening.bind(str(self.socket))
            listening.listen(256)
        target = f"fd={listening.fileno()}" if make_socket else self.socket
        self._stderr = open(folder / "stderr", "w+b")
        self.process = subprocess.Popen(
            [*map(str, command or [HAKO, "serve"]), "--api-socket", str(target), *map(str, arguments)],
            pass_fds=[listening.fileno()], stdin=subprocess.PIPE if typing else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=self._stderr)
        listening.close()
        self.console = console(self.process)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.console.close()
        # What the guest said is kept where the lab shows it when a test fails.
        if "LAB_CONSOLES" in os.environ and (console := self.console_text()):
            name = f"{self.folder.parent.name}-{self.folder.name}.console"
            Path(os.environ["LAB_CONSOLES"], name).write_text(console)
        if self.process.stdin:
            self.process.stdin.close()
        self._stderr.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def api(self, timeout: float = 30) -> Api:
        return Api(self.socket, timeout)

    def wait(self, timeout: float = 30) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(timeout)

    def wait_for(self, text: str, timeout: float = 60) -> str:
        """What a guest with its serial port on the terminal writes before `text`, once it has; both are used up then."""
        try:
            return self.console.wait_for(text, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.stderr()}") from None

    def console_text(self) -> str:
        """All that the guest wrote to its serial port so far."""
        return self.console.text()

    def type(self, text: str) -> None:
        """Types into the guest's serial port, if that is on the terminal."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def stderr(self) -> str:
        return Path(self._stderr.name).read_text(errors="replace")

    def fds(self) -> list[str]:
        """What it has open, by name."""
        names = []
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                names.append(os.readlink(fd))
            except FileNotFoundError:
                pass
        return sorted(names)


def vm_config(test: str = "deaf", **fields: Any) -> dict[str, Any]:
    """A VM that runs `test` of the bare-metal guest."""
    return {"payload": {"kernel": str(GUEST), "cmdline": f"test={test}"}, "memory": {"size": 64 << 20},
            "cpus": {"boot_vcpus": 1, "max_vcpus": 1}, "console": {"mode": "Off"}, "serial": {"mode": "Off"}, **fields}
