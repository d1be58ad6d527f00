"""Runs one command, and ends it when the supervisor is gone: `… guardian SIGNAL USER DESCRIPTOR -- command…`.

Standard input is a pipe whose other end only the supervisor holds, so it closes however the supervisor ends, kill -9
included. Should the guardian itself be killed, Linux sends the command its stop signal (PR_SET_PDEATHSIG, prctl(2)).
Imports nothing of ours: it must start in milliseconds and never fail.
"""

import contextlib
import ctypes
import os
import pwd
import select
import signal
import subprocess
import sys
from typing import TypedDict

PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE_SECONDS = 15.0  # above what a worker gives the calls on its wire; Temporal needs about one, Postgres less
ORPHAN_GRACE_SECONDS = 3.0  # nobody waits for an orderly end any more, and Temporal needs about one
OURSELVES = "-"


class Identity(TypedDict, total=False):
    """Whom the command runs as."""

    user: int
    group: int
    extra_groups: list[int]


def identity_of(user: str | None) -> Identity:
    """The arguments by which a child becomes `user`; None: it stays who we are."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def main(arguments: list[str]) -> int:
    """Run the command to its end, telling its process id on DESCRIPTOR; return its exit code."""
    stop, user, descriptor, _, *command = arguments
    stop_signal = signal.Signals[stop]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: asked.append(received))
    signal.signal(signal.SIGCHLD, _woken)
    child = _start(command, stop_signal, None if user == OURSELVES else user)
    _tell(int(descriptor), child.pid)
    while child.poll() is None:
        ready, _, _ = select.select([0, wake_read], [], [], 5)
        if wake_read in ready:
            os.read(wake_read, 512)
        if asked:
            _stop(child, stop_signal, GRACE_SECONDS)
        elif 0 in ready and not os.read(0, 512):
            _stop(child, stop_signal, ORPHAN_GRACE_SECONDS)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _start(command: list[str], stop_signal: signal.Signals, user: str | None) -> "subprocess.Popen[bytes]":
    guardian = os.getpid()
    return subprocess.Popen(  # noqa: S603  our own command
        command,
        stdin=subprocess.DEVNULL,
        # It inherits what we inherited: the stack's lock, held until the last command has ended, and DESCRIPTOR, whose
        # end of file tells the supervisor that the command and all that it started have gone.
        close_fds=False,
        # Runs after the change of user, which would undo it. There are no threads here.
        preexec_fn=lambda: _die_with(guardian, stop_signal),  # noqa: PLW1509
        **identity_of(user),
    )


def _die_with(guardian: int, stop_signal: signal.Signals) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != guardian:  # it died before the line above
            os._exit(1)


def _tell(report: int, child: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(report, b"%d\n" % child)
    os.close(report)


def _woken(_number: int, _frame: object) -> None:
    """A child has ended: the wakeup pipe says so."""


def _stop(child: "subprocess.Popen[bytes]", stop_signal: signal.Signals, grace_seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(stop_signal)
    try:
        child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
