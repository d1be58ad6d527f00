"""Webhooks of providers: verify the raw bytes, keep them, answer. What they mean is somebody else's (money rule 14)."""

import structlog
from pydantic import BaseModel

from api.answers import Answer
from api.ports import Received
from api.problems import Code, Problem
from api.registrar import Asked, Auth, Idempotency, Operation
from api.resources import EventReceived
from api.routes.started import made

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def receive(asked: Asked[BaseModel]) -> Answer:
    """Keep an event of a provider, once; an event of an unknown kind too, for it may be needed later."""
    provider = asked.path["provider"]
    try:
        event_id = asked.deps.webhooks.event_id(provider, asked.raw, asked.headers)
    except LookupError:
        raise Problem(Code.NOT_FOUND) from None
    if event_id is None:
        log.warning("webhook.refused", provider=provider, request_id=asked.request_id)
        raise Problem(Code.SIGNATURE_INVALID)
    match Received(await asked.deps.inbox.receive(provider, event_id, asked.raw)):
        case Received.NEW | Received.DUPLICATE:
            return made(200, EventReceived())
        case Received.ALTERED:
            log.error("webhook.altered", provider=provider, event_id=event_id, request_id=asked.request_id)
            raise Problem(Code.EVENT_ALTERED)


OPERATIONS = (
    Operation(
        id="receiveWebhook",
        method="POST",
        path="/v1/webhooks/{provider}",
        summary="Take an event from a provider",
        perform=receive,
        answers={200: EventReceived},
        auth=Auth.PROVIDER_SIGNATURE,
        idempotency=Idempotency.EVENT,
        audit="webhook.received",
        errors=(Code.NOT_FOUND,),
    ),
)
