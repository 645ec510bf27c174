"""The daemon behind shared directories: virtiofsd 1.13 from Debian 13, unpacked with its libraries and not installed.

Debian 12 has the older one of QEMU 7.2 only, which cannot hand its state over to another.
"""

from pathlib import Path

from .. import apt, cache
from ..command import run
from .lab_qemu import LIBRARIES, LOADER

SUITE = "trixie"
PROGRAM = "usr/libexec/virtiofsd"


def make(folder: Path, _needed: list[Path]) -> None:
    """Unpacks virtiofsd and all it depends on into `folder`, and writes a script that starts it."""
    with cache.step("fetching virtiofsd"), apt.options_file() as options:
        run("mmdebstrap", "--quiet", "--variant=extract", "--mode=root", "--format=directory",
            f"--aptopt={options}", "--include=virtiofsd", SUITE, folder, *apt.sources(SUITE))
    script = folder / "virtiofsd"
    script.write_text(f"""#!/bin/sh
at=$(dirname "$0")
exec "$at/{LOADER}" --library-path "$at/{LIBRARIES}" "$at/{PROGRAM}" "$@"
""")
    script.chmod(0o755)


BUNDLE = cache.Bundle("lab-virtiofsd", make, (Path(__file__),))
