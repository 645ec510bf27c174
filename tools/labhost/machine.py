"""One run of the lab: QEMU as a child, the command's output from its channels, the end of it all."""

import base64
import contextlib
import ctypes
import fcntl
import os
import secrets
import selectors
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty
from dataclasses import dataclass, field
from pathlib import Path

from . import cache
from .recipes import lab_initrd, lab_kernel, lab_qemu

TIMED_OUT = 124
LAB_FAILED = 125
SHOWN_LINES = 40
KEPT_DAYS = 7
PR_SET_PDEATHSIG = 1
PASSED_ENVIRONMENT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TERM", "HAKO_CACHE", "XDG_CACHE_HOME")
CPU = "EPYC,+svm,+npt"
# No guest runs on CPU 0. In QEMU (7.2 to 11.1 at least) FPU instructions of every CPU clear a bit in CPU 0's flags without
# a lock, and so can undo what VMRUN or #VMEXIT changes there at that moment: a guest then runs without nested paging.
HOUSEKEEPING_CPUS = 1
KERNEL_COMMAND_LINE = ("console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off audit=0 nowatchdog tsc=reliable "
                       "no_timer_check cryptomgr.notests random.trust_cpu=on")


@dataclass
class Disk:
    """A disk of the lab host; `scratch`: its writes are thrown away."""

    path: Path
    serial: str
    scratch: bool


@dataclass
class Lab:
    """What to start and how; an empty `command` means an interactive shell."""

    command: list[str]
    cpus: int = 2  # those the command may use; one more does the lab host's own work
    memory: int = 6144  # MiB
    timeout: float | None = None  # seconds
    disks: list[Disk] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


class Channel:
    """One direction of output: passes bytes on as they come, up to the mark that ends it."""

    def __init__(self, mark: bytes, descriptor: int):
        self._mark = mark
        self._descriptor = descriptor
        self._held = b""
        self.code: int | None = None  # the command's exit code, once the mark was seen

    def feed(self, data: bytes) -> None:
        """Takes what the lab host sent."""
        self._held += data
        at = self._held.find(self._mark)
        if at < 0:  # keep back only what may turn out to be the beginning of the mark
            at = len(self._held)
            for length in range(min(len(self._mark) - 1, at), 0, -1):
                if self._held.endswith(self._mark[:length]):
                    at -= length
                    break
        elif self._held.endswith(b"\n"):
            self.code = int(self._held[at + len(self._mark):])
        self._write(self._held[:at])
        self._held = self._held[at:]

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data):]


def _die_with_parent(parent: int) -> None:
    """In the child: no QEMU outlives its lab, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(LAB_FAILED)


def _script(lab: Lab, consoles: Path) -> str:
    """The shell script that the lab host runs in this machine's files."""
    environment = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    environment |= {"LAB_CONSOLES": str(consoles)} | lab.environment
    command = lab.command or [os.environ.get("SHELL", "/bin/bash")]
    cpus = f"{HOUSEKEEPING_CPUS}-{HOUSEKEEPING_CPUS + lab.cpus - 1}"
    words = ["taskset", "--cpu-list", cpus, "env", "-i",
             *(f"{name}={value}" for name, value in environment.items()), *command]
    return f"cd {shlex.quote(os.getcwd())} || exit {LAB_FAILED}\nexec {shlex.join(words)}\n"


def _qemu(lab: Lab, run: Path, channels: dict[str, int], terminal: int | None) -> list[str]:
    """QEMU's command line; `channels` and `terminal` are inherited sockets."""
    kernel, initrd = lab_kernel.BUNDLE.path() / "vmlinux", lab_initrd.BUNDLE.path() / "initrd"
    place = base64.b64encode(str(run).encode()).decode()
    words = f"{KERNEL_COMMAND_LINE} hako.run={place} hako.shell={int(terminal is not None)}"
    command = [
        *lab_qemu.command(lab_qemu.BUNDLE.path()), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-M", "q35,hpet=off", "-accel", "tcg,thread=multi", "-cpu", CPU,
        "-smp", str(lab.cpus + HOUSEKEEPING_CPUS), "-m", str(lab.memory), "-kernel", str(kernel), "-initrd", str(initrd), "-append", words,
        "-chardev", f"file,id=kernel,path={_escape(run / 'console')}", "-serial", "chardev:kernel",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap",
        "-virtfs", "local,path=/usr,mount_tag=usr,security_model=none,multidevs=remap,readonly=on",
        "-device", "virtio-rng-pci", "-device", "virtio-serial-pci,max_ports=8",
    ]
    for number, (name, descriptor) in enumerate(channels.items(), 1):
        command += ["-chardev", f"socket,id={name},fd={descriptor}",
                    "-device", f"virtserialport,nr={number},name={name},chardev={name}"]
    if terminal is not None:
        command += ["-chardev", f"socket,id=terminal,fd={terminal}", "-device", "virtconsole,nr=0,chardev=terminal"]
    for number, disk in enumerate(lab.disks):
        mode = "snapshot=on,cache=unsafe" if disk.scratch else "cache=writeback"
        command += ["-drive", f"if=none,id=disk{number},format=raw,discard=unmap,{mode},file={_escape(disk.path)}",
                    "-device", f"virtio-blk-pci,drive=disk{number},serial={disk.serial}"]
    return command


def _escape(path: Path) -> str:
    """A path as a value in a list of QEMU options."""
    return str(path).replace(",", ",,")


def _tail(path: Path) -> str:
    """The last lines of a console, without what QEMU always says about features that it cannot emulate."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 64 * 1024))
        lines = file.read().decode(errors="replace").splitlines()
    lines = [f"{line}\n" for line in lines if "TCG doesn't support requested feature" not in line]
    return "".join(lines[-SHOWN_LINES:])


def _show_consoles(run: Path) -> None:
    """What may explain a failure."""
    for path in [run / "console", run / "qemu", *sorted(run.glob("**/*.console"))]:
        tail = _tail(path)
        if tail:
            print(f"--- {path} (at most its last {SHOWN_LINES} lines) ---\n{tail}", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _raw_terminal(descriptor: int):
    """The terminal without any interpretation of its own, restored afterwards."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _window_size(descriptor: int) -> bytes:
    """The terminal's size, as a line for the lab host."""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, b"\0" * 8))
    return f"{rows or 24} {columns or 80}\n".encode()


class Run:
    """A lab host under way."""

    def __init__(self, lab: Lab, folder: Path):
        self._lab = lab
        self._folder = folder
        self._mark = "\x1e" + secrets.token_hex(16)  # a rare first byte: text is never held back for looking like it
        self._selector = selectors.DefaultSelector()
        self._outputs: list[Channel] = []
        self._qemu_descriptors: list[int] = []
        self._sockets: list[socket.socket] = []
        self._child: subprocess.Popen | None = None

    def _connect(self) -> tuple[socket.socket, int]:
        """A socket and the descriptor of its other end, for QEMU."""
        ours, theirs = socket.socketpair()
        self._sockets += [ours, theirs]
        return ours, theirs.fileno()

    def execute(self) -> int:
        """Starts the lab host and passes everything on until the command has ended."""
        interactive = not self._lab.command
        deadline = None if self._lab.timeout is None else time.monotonic() + self._lab.timeout
        (self._folder / "command").write_text(_script(self._lab, self._folder))
        (self._folder / "mark").write_text(self._mark)
        channels = {}
        for name, descriptor in (("out", 1), ("err", 2)):
            ours, channels[name] = self._connect()
            output = Channel(f"{self._mark} ".encode(), descriptor)
            self._outputs.append(output)
            self._selector.register(ours, selectors.EVENT_READ, self._reader(ours, output.feed))
        terminal = None
        with contextlib.ExitStack() as stack:
            if interactive:
                terminal = self._attach_terminal(channels, stack)
            command = _qemu(self._lab, self._folder, channels, terminal)
            stack.callback(self._stop)
            self._start(command, [one.fileno() for one in self._sockets[1::2]])
            return self._pump(deadline)

    def _attach_terminal(self, channels: dict[str, int], stack: contextlib.ExitStack) -> int:
        """Connects our terminal, raw, and a channel for its size; the descriptor of the terminal's other end."""
        keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
        sizes, channels["size"] = self._connect()
        ours, terminal = self._connect()
        self._selector.register(ours, selectors.EVENT_READ, self._reader(ours, lambda data: os.write(screen, data)))
        self._selector.register(keyboard, selectors.EVENT_READ, lambda: ours.sendall(os.read(keyboard, 4096)))
        sizes.sendall(_window_size(keyboard))
        signal.signal(signal.SIGWINCH, lambda *_: sizes.sendall(_window_size(keyboard)))
        stack.enter_context(_raw_terminal(keyboard))
        return terminal

    def _reader(self, source: socket.socket, sink):
        """What to do when `source` has something to read."""

        def read() -> None:
            data = source.recv(1 << 16)
            if data:
                sink(data)
            else:
                self._selector.unregister(source)

        return read

    def _start(self, command: list[str], inherited: list[int]) -> None:
        parent = os.getpid()
        with open(self._folder / "qemu", "wb") as log:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=inherited,
                start_new_session=True, preexec_fn=lambda: _die_with_parent(parent))
        for descriptor in self._sockets[1::2]:
            descriptor.close()
        self._selector.register(os.pidfd_open(self._child.pid), selectors.EVENT_READ, None)

    def _pump(self, deadline: float | None) -> int:
        """Passes output on until both channels have ended; the exit code."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            ready = self._selector.select(left)
            if not ready:
                cache.say(f"time limit of {self._lab.timeout:g} s exceeded: stopped")
                return TIMED_OUT
            handlers = [key.data for key, _ in ready if key.data]
            for handler in handlers:
                handler()
            if all(output.code is not None for output in self._outputs):
                return self._outputs[0].code
            if not handlers:  # QEMU has ended and everything it sent is read
                cache.say("the lab host stopped before the command ended")
                return LAB_FAILED

    def _stop(self) -> None:
        if self._child:
            self._child.kill()
            self._child.wait()
        for one in self._sockets:
            one.close()


def _on_signal(number: int, _frame) -> None:
    """Ends the run through its cleanup, with the exit code a shell expects."""
    raise SystemExit(128 + number)


def _new_folder() -> Path:
    """A folder for this run; those of failed runs long past are removed."""
    runs = cache.root() / "runs"
    runs.mkdir(exist_ok=True)
    limit = time.time() - KEPT_DAYS * 86400
    for old in runs.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if old.stat().st_mtime < limit:
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=runs))


def execute(lab: Lab) -> int:
    """Runs `lab` to its end; the command's exit code, or the lab's own (TIMED_OUT, LAB_FAILED)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    folder = _new_folder()
    try:
        code = Run(lab, folder).execute()
    except BrokenPipeError:  # nobody reads our output any more
        shutil.rmtree(folder, ignore_errors=True)
        return 128 + signal.SIGPIPE
    except SystemExit:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if code and lab.command:
        _show_consoles(folder)
        cache.say(f"exit code {code}; consoles are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code
