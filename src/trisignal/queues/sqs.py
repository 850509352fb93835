"""SQS over botocore and aiobotocore, by botocore's own events: the context travels in attributes of messages.

What is redelivered counts as a retry. Dead letters are moved by the service itself, unnoticed by its clients.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from trisignal import _context, _guard
from trisignal.clients._patch import Patches
from trisignal.observe.measurements import ENQUEUED_KEY
from trisignal.queues._messages import Messages, received
from trisignal.queues._tasks import again, deeper, published

_MOST_ATTRIBUTES, _MOST_BYTES = 10, 262_144
"""Limits of SQS, which the context must not reach."""
_ALL = frozenset({"All", ".*"})
_COUNT = "ApproximateReceiveCount"
_ID = "trisignal"
_connected: set[str] = set()


def _queue_of(url: Any) -> str:
    return str(url or "").rstrip("/").rpartition("/")[2] or "sqs"


def _with_context(client: Any, model: Any, parameters: Any, context: Any) -> Any:
    """The parameters of one call of SQS, with what the context needs."""
    try:
        queue = _queue_of(parameters.get("QueueUrl"))
        if model.name == "SendMessage":
            return _sent(queue, parameters, _size(parameters))
        if model.name == "SendMessageBatch":
            entries = parameters["Entries"]
            # All messages of a batch share the limit.
            size = sum(map(_size, entries)) * len(entries)
            return {**parameters, "Entries": [_sent(queue, entry, size) for entry in entries]}
        if model.name == "ReceiveMessage":
            context[_ID] = queue
            # Registered again, it changes nothing.
            client.meta.events.register("after-call.sqs.ReceiveMessage", _arrived, unique_id=_ID)
            return _asking(model, parameters)
    except Exception as error:
        _guard.contain("sqs.parameters", error)
    return parameters


def _asking(model: Any, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request for messages that also asks for the attributes that carry the context."""
    names = list(parameters.get("MessageAttributeNames") or ())
    if not _ALL.intersection(names):
        names += [key for key in (*_context.carrier_keys(), ENQUEUED_KEY) if key not in names]
    asked = {**parameters, "MessageAttributeNames": names}
    given = [key for key in ("MessageSystemAttributeNames", "AttributeNames") if key in model.input_shape.members]
    if not any({"All", _COUNT}.intersection(parameters.get(key) or ()) for key in given):
        key = next((key for key in given if parameters.get(key)), given[0])
        asked[key] = [*(parameters.get(key) or ()), _COUNT]
    return asked


def _size(entry: Mapping[str, Any]) -> int:
    return len(str(entry.get("MessageBody", "")).encode()) + len(str(entry.get("MessageAttributes") or "").encode())


def _sent(queue: str, entry: Mapping[str, Any], size: int) -> Mapping[str, Any]:
    """A message with the context; as given where there is no room for that."""
    carrier: dict[str, Any] = {}
    published(queue, carrier, time.time() + float(entry.get("DelaySeconds") or 0), counts=False)
    added = {key: {"DataType": "String", "StringValue": text} for key, text in carrier.items() if text}
    attributes = {**(entry.get("MessageAttributes") or {}), **added}
    if not added or len(attributes) > _MOST_ATTRIBUTES or size + len(str(added)) > _MOST_BYTES:
        return entry
    deeper(queue, 1.0)
    return {**entry, "MessageAttributes": attributes}


def _arrived(parsed: Any = None, context: Any = None, **more: Any) -> None:
    """A reply with messages: a loop over them is in the context of each."""
    try:
        messages = parsed.get("Messages")
        if not _connected or not messages:
            return
        queue = context.get(_ID, "sqs")
        for message in messages:
            if int((message.get("Attributes") or {}).get(_COUNT, 1)) > 1:
                again(queue)
            else:
                received(message, lambda one: str(queue), counts=True)
        parsed["Messages"] = Messages(messages)
    except Exception as error:
        _guard.contain("sqs.arrived", error)


def _is_sqs(model: Any) -> bool:
    return getattr(getattr(model, "service_model", None), "service_name", "") == "sqs"


def _parameters(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    parameters = wrapped(*args, **kwargs)
    model = kwargs.get("operation_model") or (args[1] if len(args) > 1 else None)
    if not _is_sqs(model):
        return parameters
    return _with_context(instance, model, parameters, kwargs.get("context", args[2] if len(args) > 2 else {}))


async def _aparameters(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    parameters = await wrapped(*args, **kwargs)
    model = kwargs.get("operation_model") or (args[1] if len(args) > 1 else None)
    if not _is_sqs(model):
        return parameters
    return _with_context(instance, model, parameters, kwargs.get("context", args[2] if len(args) > 2 else {}))


def _patched(module: str, owner: str, wrapper: Any) -> Callable[[], None]:
    patches = Patches()
    patches.wrap(getattr(importlib.import_module(module), owner), "_emit_api_params", wrapper)
    _connected.add(module)

    def undo() -> None:
        _connected.discard(module)
        patches.undo()

    return undo


def connect() -> Callable[[], None]:
    """Patch botocore's clients; what is returned undoes it."""
    return _patched("botocore.client", "BaseClient", _parameters)


def connect_async() -> Callable[[], None]:
    """Patch aiobotocore's clients; what is returned undoes it."""
    return _patched("aiobotocore.client", "AioBaseClient", _aparameters)
