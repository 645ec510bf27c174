"""Writes cpio archives in the "newc" format, which the Linux kernel unpacks as an initramfs."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

BLOCK = 512


class Writer:
    """Appends entries to `file`; `close` ends the archive. Owner and times are 0, so that equal input gives equal bytes.

    Archives that end on a block boundary may be written one after the other: the kernel unpacks them all, in order.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._inode = 0
        self._made: set[str] = set()

    def directory(self, name: str) -> None:
        """Adds a directory and its parents, each once."""
        name = name.strip("/")
        if not name or name in self._made:
            return
        self.directory(os.path.dirname(name))
        self._made.add(name)
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Adds a regular file and its parents."""
        self.directory(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFREG | mode, content)

    def copy(self, name: str, source: Path, mode: int = 0o644) -> None:
        """Adds the content of `source` as a regular file."""
        self.file(name, source.read_bytes(), mode)

    def symlink(self, name: str, target: str) -> None:
        """Adds a symbolic link and its parents."""
        self.directory(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def close(self) -> None:
        """Ends the archive on a block boundary. The file stays open."""
        self._inode = 0
        self._entry("TRAILER!!!", 0, b"")
        self._file.write(b"\0" * (-self._file.tell() % BLOCK))

    def _entry(self, name: str, mode: int, content: bytes) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (header + encoded, content):
            self._file.write(part + b"\0" * (-len(part) % 4))
