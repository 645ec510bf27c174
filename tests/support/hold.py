"""Holds one thread of a process still, while its others run."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

_PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, tid: int) -> None:
    if _libc.ptrace(request, tid, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace of thread {tid}: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def thread_held(tid: int) -> Iterator[None]:
    """The thread does nothing within the `with`, whatever wakes it."""
    _ptrace(_PTRACE_SEIZE, tid)
    try:
        _ptrace(_PTRACE_INTERRUPT, tid)
        os.waitpid(tid, _WALL)
        yield
    finally:
        _ptrace(_PTRACE_DETACH, tid)
