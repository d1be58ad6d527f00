"""Whether this process lives, and whether what it stands on is there."""

import asyncio

from pydantic import BaseModel

from api.answers import Answer
from api.ports import Probe
from api.registrar import Asked, Auth, Operation
from api.resources import Health
from api.routes.started import made

PROBE_SECONDS = 1.0  # each part answers in milliseconds when it is well


async def live(_: Asked[BaseModel]) -> Answer:
    """The process answers; nothing else is asked, so that a slow database restarts nobody."""
    return made(200, Health(status="ok"))


async def ready(asked: Asked[BaseModel]) -> Answer:
    """Ask every part that a request needs."""
    probes = asked.deps.probes
    present = await asyncio.gather(*(_is_present(probe) for probe in probes.values()))
    missing = [name for name, there in zip(probes, present, strict=True) if not there]
    health = Health(status="unavailable" if missing else "ok", missing=missing)
    return made(503 if missing else 200, health)


async def _is_present(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe()
    except Exception:  # noqa: BLE001 - whatever is wrong with the part, the answer is that it is not ready
        return False
    return True


HEALTHZ = Operation(
    id="getHealth",
    method="GET",
    path="/healthz",
    summary="Whether the process lives",
    perform=live,
    answers={200: Health},
    auth=Auth.NONE,
)
READYZ = Operation(
    id="getReadiness",
    method="GET",
    path="/readyz",
    summary="Whether the process can answer requests",
    perform=ready,
    answers={200: Health, 503: Health},
    auth=Auth.NONE,
)
OPERATIONS = (HEALTHZ, READYZ)
