"""How much memory a hako has of its host."""

from pathlib import Path
from typing import NamedTuple


class Resident(NamedTuple):
    """Bytes."""

    guest: int  # the guest's memory
    other: int  # all else that is mapped


def resident(pid: int) -> Resident:
    """What is resident of a process's mappings."""
    sizes = {True: 0, False: 0}
    guest = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if line.split(" ", 1)[0].count("-") == 1:  # a mapping begins: its addresses
            guest = "hako-ram" in line
        elif line.startswith("Rss:"):
            sizes[guest] += int(line.split()[1]) << 10
    return Resident(sizes[True], sizes[False])
