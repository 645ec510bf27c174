"""Debian packages of any suite, from the archive this machine's apt uses, without touching its configuration."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import LabError
from .command import run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def _archive(label: str) -> str | None:
    """The address from which this machine gets the Debian archive called `label`."""
    listing = run("apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages")
    for line in listing.splitlines():
        origin, found, address = line.split("|", 2)
        if (origin, found) == ("Debian", label):
            return address
    return None


def sources(*suites: str) -> list[str]:
    """Lines for a sources.list that offers `suites`."""
    archive = {"main": _archive("Debian"), "security": _archive("Debian-Security")}
    if not archive["main"]:
        raise LabError("apt has no lists of Debian's packages: run apt-get update")
    lines = []
    for suite in suites:
        address = archive["security" if suite.endswith("-security") else "main"]
        if address:  # a machine without the security archive makes do with the rest
            lines.append(f"deb [signed-by={KEYRING}] {address} {suite} main")
    return lines


@contextlib.contextmanager
def options_file() -> Iterator[Path]:
    """How this machine's apt fetches (proxy, checks), as an apt.conf for mmdebstrap's --aptopt."""
    with tempfile.NamedTemporaryFile("w", prefix="hako-apt-", suffix=".conf") as file:
        file.write(run("apt-config", "dump", "--format", '%F "%v";%n', "Acquire"))
        file.flush()
        yield Path(file.name)


class Apt:
    """apt-get with a private configuration that knows `suites` only."""

    def __init__(self, *suites: str):
        self._folder = tempfile.TemporaryDirectory(prefix="hako-apt-")
        base = Path(self._folder.name)
        for name in ("lists/partial", "archives/partial"):
            (base / name).mkdir(parents=True)
        (base / "status").touch()
        (base / "sources.list").write_text("\n".join(sources(*suites)) + "\n")
        self._options = [f"-o{name}={value}" for name, value in {
            "Dir::Etc::SourceList": base / "sources.list", "Dir::Etc::SourceParts": "-",
            "Dir::Etc::Preferences": "-", "Dir::Etc::PreferencesParts": "-", "Dir::State::Lists": base / "lists",
            "Dir::State::Status": base / "status", "Dir::Cache::Archives": base / "archives",
            "Dir::Cache::PkgCache": "", "Dir::Cache::SrcPkgCache": "", "APT::Sandbox::User": "root",
        }.items()]
        run("apt-get", *self._options, "-q", "update")

    def __enter__(self) -> "Apt":
        return self

    def __exit__(self, *_) -> None:
        self._folder.cleanup()

    def kernel_package(self, metapackage: str) -> str:
        """The package with the kernel that `metapackage` (linux-image-...) stands for."""
        shown = run("apt-cache", *self._options, "show", "--no-all-versions", metapackage)
        match = re.search(r"^Depends:.*?\b(linux-image-[0-9][^ ,(]*)", shown, re.MULTILINE)
        if not match:
            raise LabError(f"the Debian package {metapackage} depends on no kernel")
        return match[1]

    def extract(self, package: str, folder: Path) -> None:
        """Downloads `package` and unpacks its files into `folder`, without installing it."""
        with tempfile.TemporaryDirectory(prefix="hako-deb-") as place:
            run("apt-get", *self._options, "-q", "download", package, cwd=place)
            for archive in Path(place).glob("*.deb"):
                run("dpkg-deb", "-x", archive, folder)
