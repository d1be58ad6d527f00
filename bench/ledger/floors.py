"""What the server can do at all: pgbench on a book without guards. Knows its own tables and nothing of the product's.

pgbench is written in C, comes with the server, and sends its statements pipelined; a client in Python cannot be faster.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import asyncpg

from bench.figures import p50, p99
from bench.ledger.server import Server

HERE = Path(__file__).parent
DATABASE = "floor"
ACCOUNTS = 10_000
SPREAD = range(1, 5_001)  # the accounts that are debited; the credited ones come after them
THREADS = max(1, min(4, os.cpu_count() or 1))


class Spread(StrEnum):
    """Which accounts are posted to: any of ten thousand, or all to one and each also to another."""

    UNIFORM = "uniform"
    HOT = "hot"


@dataclass(frozen=True)
class Cell:
    """One closed loop: entries per second, and latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


async def lay_out(server: Server) -> None:
    """Make the floor's database."""
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {DATABASE}")
    await connection.close()
    connection = await asyncpg.connect(server.url(DATABASE))
    await connection.execute((HERE / "base.sql").read_text())
    await connection.close()


def run(server: Server, script: str, spread: Spread, at_once: int, seconds: int) -> Cell:
    """Run one of the scripts for whole seconds, with so many clients at once."""
    last = SPREAD[0] if spread is Spread.HOT else SPREAD[-1]
    with tempfile.TemporaryDirectory() as logs:
        told = subprocess.run(
            [server.program("pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={at_once}",
             f"--jobs={min(at_once, THREADS)}", f"--time={seconds}", "--log", f"--log-prefix={logs}/log",
             f"--define=first={SPREAD[0]}", f"--define=last={last}", f"--file={HERE / script}.sql", DATABASE],
            env=server.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        # pgbench(1), per-transaction log: client, number, microseconds, script, seconds, microseconds.
        laps = [int(line.split()[2]) / 1000 for file in Path(logs).iterdir() for line in file.read_text().splitlines()]
    rate = re.search(r"tps = ([\d.]+)", told.stdout)
    assert told.returncode == 0, told.stderr
    assert rate, told.stdout
    return Cell(float(rate.group(1)), p50(laps), p99(laps))
