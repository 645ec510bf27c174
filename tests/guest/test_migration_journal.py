"""A guest that writes a journal while it moves: what it has acknowledged is on the disk, whatever breaks and dies. Runs on any
KVM."""

import re

import pytest

from tests.guest.test_migration import TTY, receive, server, url_of, wait_for_end  # noqa: F401
from tests.guest.test_migration_faults import assert_never_two, kill
from tests.support.migration_proxy import FROM_DESTINATION, FROM_SOURCE, Fault, Proxy
from tests.support.serve import Server, vm_config

FRAMES = FROM_SOURCE + FROM_DESTINATION
SECTOR = 512
RECORDS = 8192  # then the guest begins again
SIZE = RECORDS * SECTOR
ACKNOWLEDGED = re.compile(r"acknowledged (?:0x)?([0-9a-f]+)\n")


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def acknowledged(*servers: Server) -> list[int]:
    """By the guest, on whichever side it ran."""
    return [int(number, 16) for one in servers for number in ACKNOWLEDGED.findall(one.console_text().replace("\r", ""))]


def writes_on(one: Server) -> None:
    one.console.skip()
    for _ in range(50):
        one.wait_for("acknowledged ")


def assert_on_disk(image, numbers: list[int]) -> None:
    """Each record, or one that came into its place later."""
    data = image.read_bytes()
    assert numbers == sorted(set(numbers)), "a record was written twice"
    for number in numbers:
        place = (number - 1) % RECORDS
        words = {int.from_bytes(data[at:at + 8], "little") for at in range(place * SECTOR, (place + 1) * SECTOR, 8)}
        assert len(words) == 1, f"record {number} is torn: {words}"
        there = words.pop()
        assert there >= number and (there - number) % RECORDS == 0, f"record {number} is not there, but {there}"


class Move:
    """Begins when it is entered. `along`: the disk moves, too, to a copy. `dies`: the side that is killed at the fault."""

    def __init__(self, server, journal, tmp_path, fault: Fault | None, along: bool, dies: int = 0, **fields):  # noqa: F811
        self.servers = [server("-v") for _ in range(2)]
        self.images = [journal, tmp_path / "copy.img" if along else journal]
        self._fault = fault
        if fault:
            fault.strike = lambda: kill(self.servers[dies])
        with self.servers[0].api() as api:
            api.put("vm.create", vm_config("journal", **TTY, disks=[{"id": "data", "path": str(journal)}]))
            api.put("vm.boot")
        writes_on(self.servers[0])
        self._answer = receive(self.servers[1], url_of(self.servers[1]),
                               **({"disks": [{"id": "data", "path": str(self.images[1])}]} if along else {}))
        self._proxy = Proxy(tmp_path, f"{self.servers[1].folder}/migration.sock", fault, [SIZE] if along else [])
        self._fields = {**({"migrate_disks": ["data"]} if along else {}), **fields}

    def __enter__(self) -> "Move":
        self._proxy.__enter__()
        with self.servers[0].api() as api:
            api.put("vm.send-migration", {"destination_url": self._proxy.url, **self._fields})
        if self._fault:
            assert self._fault.struck.wait(60), self._proxy.seen
        return self

    def __exit__(self, *_) -> None:
        self._proxy.__exit__()
        self._answer.close()

    def came(self) -> bool:
        return self._answer.response().status == 204

    def settle(self, side: int) -> None:
        """It runs there. Then that process dies, too, and its disk has all that the guest ever acknowledged."""
        writes_on(self.servers[side])
        kill(self.servers[side])
        numbers = acknowledged(*self.servers)
        assert_on_disk(self.images[side], numbers)
        assert_never_two(*self.servers)


@pytest.mark.parametrize("along", [False, True], ids=["shared", "along"])
@pytest.mark.parametrize("fields", [{}, {"connections": 3}, {"memory_mode": "Postcopy", "downtime_ms": 100}],
                         ids=["one", "three", "postcopy"])
def test_nothing_breaks(server, journal, tmp_path, fields, along):  # noqa: F811
    with Move(server, journal, tmp_path, None, along, **fields) as going:
        assert going.came()
        going.settle(1)


@pytest.mark.parametrize("along", [False, True], ids=["shared", "along"])
@pytest.mark.parametrize("frame", FRAMES)
def test_the_destination_dies(server, journal, tmp_path, frame, along):  # noqa: F811
    """But for RUNNING: then the guest was there, and is no more; its disk is what it was."""
    with Move(server, journal, tmp_path, Fault(frame), along, dies=1) as going:
        with going.servers[0].api() as api:
            status = wait_for_end(api)["status"]
        if frame == "RUNNING":
            return assert_on_disk(going.images[1], acknowledged(*going.servers))
        if status == "failed":
            return going.settle(0)
        # GO was sent, and nobody knows: nobody runs, and the source has all of it.
        assert status in ("handed-over-unconfirmed", "failed-needs-operator"), status
        assert_on_disk(going.images[0], acknowledged(*going.servers))


@pytest.mark.parametrize("along", [False, True], ids=["shared", "along"])
@pytest.mark.parametrize("frame", FRAMES)
def test_the_source_dies(server, journal, tmp_path, frame, along):  # noqa: F811
    with Move(server, journal, tmp_path, Fault(frame), along, dies=0) as going:
        if going.came():
            return going.settle(1)
        assert_on_disk(going.images[0], acknowledged(*going.servers))


def test_what_is_lost_is_seen(journal):
    """The check itself."""
    numbers = [1, 2, RECORDS + 1]
    with journal.open("r+b") as file:
        file.write((RECORDS + 1).to_bytes(8, "little") * (SECTOR // 8) + (2).to_bytes(8, "little") * (SECTOR // 8))
    assert_on_disk(journal, numbers)
    for number in (3, RECORDS + 2):
        with pytest.raises(AssertionError, match="is not there"):
            assert_on_disk(journal, [number])
