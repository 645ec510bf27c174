"""Chooses kernel modules for an initramfs."""

import lzma
from pathlib import Path

from .command import run
from .cpio import Writer


def version(tree: Path) -> str:
    """The one kernel version whose modules are under tree/lib/modules."""
    (folder,) = (tree / "lib/modules").iterdir()
    return folder.name


def ordered(tree: Path, names: list[str]) -> list[Path]:
    """The files of the modules `names` and all they need, each once, in the order in which to load them.

    Names that the kernel has built in, or lacks altogether, are left out: kernels differ in both.
    """
    files: dict[Path, None] = {}
    common = ("modprobe", "-d", tree, "-S", version(tree), "--config", "/dev/null")
    known = {line.split(":")[0].split("/")[-1].split(".")[0].replace("-", "_")
             for line in (tree / "lib/modules" / version(tree) / "modules.dep").read_text().splitlines()}
    for name in names:
        if name.replace("-", "_") not in known:
            continue
        for line in run(*common, "--show-depends", name).splitlines():
            words = line.split()
            if words[0] == "insmod":
                files[Path(words[1])] = None
    return list(files)


def pack(archive: Writer, files: list[Path]) -> None:
    """Adds the modules, uncompressed, and /modules.order, which lists them for the init script."""
    names = []
    for path in files:
        name = f"/modules/{path.name.split('.')[0]}.ko"
        content = path.read_bytes()
        archive.file(name, lzma.decompress(content) if path.suffix == ".xz" else content)
        names.append(name)
    archive.file("/modules.order", "".join(f"{name}\n" for name in names).encode())
