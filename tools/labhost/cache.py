"""Artifacts kept by content: built once, under a lock, and renamed into place when complete."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import LabError

UNUSED_DAYS = 14  # a version nobody asked for in so long is removed when its successor is built


def root() -> Path:
    """The cache folder of the project."""
    base = os.environ.get("HAKO_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hako")
    path = Path(base).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot make the cache folder {path}: {error.strerror}; set HAKO_CACHE to a folder you own")
    return path


def say(text: str) -> None:
    """One line of progress."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str):
    """Tells what is under way and how long it took."""
    start = time.monotonic()
    say(f"{what} ...")
    yield
    say(f"{what}: {time.monotonic() - start:.1f} s")


@dataclass(frozen=True)
class Bundle:
    """A folder of files made together by one recipe.

    `inputs` are the files that decide the content (the recipe and what it reads); `needs` are the bundles it is
    made from; `make(folder, needed)` fills `folder`, `needed` being the folders of `needs`, in order.
    """

    name: str
    make: Callable[[Path, list[Path]], None]
    inputs: tuple[Path, ...]
    needs: tuple["Bundle", ...] = ()

    def key(self) -> str:
        """The content's name: changes with the recipe, its inputs and everything it is made from."""
        digest = hashlib.sha256()
        for path in self.inputs:
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        for bundle in self.needs:
            digest.update(f"{bundle.name} {bundle.key()}\n".encode())
        return digest.hexdigest()[:16]

    def path(self) -> Path:
        """The complete folder, built first where it is missing."""
        shelf = root() / "artifacts"
        target = shelf / f"{self.name}-{self.key()}"
        if not target.is_dir():
            needed = [bundle.path() for bundle in self.needs]
            shelf.mkdir(exist_ok=True)
            with open(shelf / f"{self.name}.lock", "w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say(f"waiting for another process that builds {self.name}")
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if not target.is_dir():
                    self._build(shelf, target, needed)
        with contextlib.suppress(OSError):
            os.utime(target)  # marks it as in use, for _remove_unused
        return target

    def _build(self, shelf: Path, target: Path, needed: list[Path]) -> None:
        for leftover in shelf.glob(f".{self.name}-*"):  # of a killed builder: we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{self.name}-", dir=shelf))
        try:
            with step(f"building {self.name}"):
                partial.chmod(0o755)
                self.make(partial, needed)
                partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._remove_unused(shelf, target)

    def _remove_unused(self, shelf: Path, current: Path) -> None:
        limit = time.time() - UNUSED_DAYS * 86400
        for other in shelf.glob(f"{self.name}-{'[0-9a-f]' * 16}"):
            if other != current and other.stat().st_mtime < limit:
                shutil.rmtree(other, ignore_errors=True)
