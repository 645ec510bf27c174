"""Runs the programs a recipe needs, quietly."""

import os
import subprocess

from . import LabError

SHOWN_LINES = 20


def run(*command: str | os.PathLike, **options) -> str:
    """Standard output of `command`; when it fails, a LabError with the end of what it said."""
    words = [os.fspath(word) for word in command]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, errors="replace", check=False, **options)
    except FileNotFoundError:
        raise LabError(f"{words[0]} is missing: run tools/install") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-SHOWN_LINES:])
        raise LabError(f"{words[0]} failed with exit code {done.returncode}:\n{said}")
    return done.stdout
