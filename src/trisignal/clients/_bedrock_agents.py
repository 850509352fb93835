"""Amazon Bedrock's agents and flows, and streamed answers of its knowledge bases.

They are operations of the service ``bedrock-agent-runtime`` whose reply is a stream of events. What an agent did is in
its trace events, which come on request (``enableTrace``): each invocation of a model with its tokens, of a tool, of a
knowledge base. Without them there is the agent alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.clients._provider import Args, ClientExchange, Kwargs, Place, draft_at, place_of
from trisignal.clients.frameworks._framework import Around, entity, followed
from trisignal.clients.sdks.botocore import ServiceCalls, mark
from trisignal.engine import current, lifecycle
from trisignal.engine.state import captures
from trisignal.formats import StreamState, count, text, view
from trisignal.formats.plain import PLAIN
from trisignal.outcomes import classify_event
from trisignal.streams.decoders import BodyDecoder
from trisignal.streams.fold import Fold

_PROVIDER = "aws.bedrock"
_RETURNED = "RETURN_CONTROL"
"""Kind of a tool's invocation that the application makes, in its next request."""
_MOST = 256
"""Invocations of one run that are open at a time; further ones are left out."""


def place_for(instance: Any) -> Place:
    """Host, port and provider of a client."""
    return place_of(instance.meta.endpoint_url, _PROVIDER)


def last_part(arn: str) -> str:
    """The resource that an ARN names; anything else as it is."""
    return arn.rpartition("/")[2] if arn.startswith("arn:") else arn


def model_of(body: Any) -> str:
    """The model that a configuration names by its ARN."""
    for key, value in view(body).items():
        found = text(value) if key == "modelArn" else model_of(value) if isinstance(value, Mapping) else ""
        if found:
            return last_part(found)
    return ""


class _Run:
    """What one run of an agent has begun and not ended."""

    def __init__(self, agent: Draft, place: Place) -> None:
        self._agent = agent
        self._place = place
        self._open: dict[tuple[str, str], Draft] = {}

    def take(self, event: Any) -> str:
        """Take an event: the trace's begin and end calls inside of the agent."""
        held = view(view(event).get("trace"))
        for part in map(view, view(held.get("trace")).values()):
            if asked := part.get("modelInvocationInput"):
                self._ask(view(asked), text(held.get("collaboratorName")))
            if replied := part.get("modelInvocationOutput"):
                self._reply(view(replied))
            if begun := part.get("invocationInput"):
                self._begin(view(begun))
            if seen := part.get("observation"):
                self._end(view(seen))
        return ""

    def over(self, stream: StreamState) -> None:
        """The stream is over: what has not ended by now ends with it."""
        for draft in self._open.values():
            if stream.error is not None:
                draft.outcome, draft.error_type, draft.error_kind = classify_event(stream.error)
            lifecycle.close_call(draft, GeneratorExit())
        self._open.clear()

    def _opened(self, kind: str, trace_id: str, draft: Draft) -> None:
        if len(self._open) >= _MOST or (kind, trace_id) in self._open:
            return
        tokens = current.activate(self._agent)
        try:
            lifecycle.open_call(draft, refusable=False)
        finally:
            current.deactivate(tokens)
        self._open[kind, trace_id] = draft

    def _ask(self, asked: Mapping[str, Any], collaborator: str) -> None:
        model = last_part(text(asked.get("foundationModel")))
        draft = draft_at(self._place, names.CHAT, ClientExchange(PLAIN), {}, model=model)
        draft.agent = collaborator
        self._opened("model", text(asked.get("traceId")), draft)

    def _reply(self, replied: Mapping[str, Any]) -> None:
        draft = self._open.pop(("model", text(replied.get("traceId"))), None)
        if draft is None:
            return
        counts = view(view(replied.get("metadata")).get("usage"))
        taken, given = count(counts.get("inputTokens")), count(counts.get("outputTokens"))
        if taken is not None or given is not None:
            draft.usage = Usage(taken, given)
        lifecycle.close_call(draft)

    def _begin(self, begun: Mapping[str, Any]) -> None:
        trace_id = text(begun.get("traceId"))
        group = view(begun.get("actionGroupInvocationInput"))
        if group and group.get("invocationType") != _RETURNED:
            name = text(group.get("function")) or text(group.get("apiPath")) or text(group.get("actionGroupName"))
            self._opened("tool", trace_id, entity(names.EXECUTE_TOOL, name))
        base = view(begun.get("knowledgeBaseLookupInput"))
        if base:
            self._opened("base", trace_id, entity(names.RETRIEVAL, text(base.get("knowledgeBaseId"))))

    def _end(self, seen: Mapping[str, Any]) -> None:
        trace_id = text(seen.get("traceId"))
        for key, kind in (("actionGroupInvocationOutput", "tool"), ("knowledgeBaseLookupOutput", "base")):
            draft = self._open.pop((kind, trace_id), None) if seen.get(key) else None
            if draft is not None:
                lifecycle.close_call(draft)


def _agent(instance: Any, args: Args, kwargs: Kwargs) -> Draft:
    body = args[1]
    name = text(body.get("agentName")) or text(body.get("agentId"))
    draft = entity(names.INVOKE_AGENT, name, text(body.get("sessionId")))
    if draft.conversation_id:
        draft.fields[names.CONVERSATION_ID] = draft.conversation_id
    draft.provider = _PROVIDER
    draft.exchange = place_for(instance)
    return draft


def _flow(instance: Any, args: Args, kwargs: Kwargs) -> Draft:
    return entity(names.INVOKE_WORKFLOW, last_part(text(args[1].get("flowIdentifier"))))


def _answer(instance: Any, args: Args, kwargs: Kwargs) -> Draft:
    return draft_at(place_for(instance), names.CHAT, ClientExchange(PLAIN, True), args[1], model=model_of(args[1]))


def _noted(draft: Draft, result: Any) -> None:
    draft.vendor_request_id = text(view(view(result).get("ResponseMetadata")).get("RequestId"))


def _watched(draft: Draft, fold: Fold, events: Any, parse: Any) -> bool:
    return not mark(events, ServiceCalls(draft, fold, parse, BodyDecoder(bytes), None))


def _agent_runs(draft: Draft, result: Any) -> bool:
    _noted(draft, result)
    run = _Run(draft, draft.exchange)
    fold = followed(draft)
    fold.before_end = partial(run.over, fold.state)
    return _watched(draft, fold, result.get("completion"), run.take)


def _flow_runs(draft: Draft, result: Any) -> bool:
    _noted(draft, result)
    return _watched(draft, followed(draft), result.get("responseStream"), _silent)


def _silent(event: Any) -> str:
    return ""


def _answer_comes(draft: Draft, result: Any) -> bool:
    _noted(draft, result)
    fold = Fold(draft, PLAIN, keep_content=captures())
    return _watched(draft, fold, result.get("stream"), _said)


def _said(event: Any) -> str:
    return text(view(view(event).get("output")).get("text"))


READERS = {
    "InvokeAgent": Around(_agent, _agent_runs),
    "InvokeInlineAgent": Around(_agent, _agent_runs),
    "InvokeFlow": Around(_flow, _flow_runs),
    "RetrieveAndGenerateStream": Around(_answer, _answer_comes),
}
"""Readers by operation."""
