"""Judges spans and metrics against the GenAI conventions; only `semconv`'s extension tables are let through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from trisignal import semconv as names

HERE = Path(__file__).parent
FACTS: dict[str, Any] = json.loads((HERE / "conventions.json").read_text(encoding="utf-8"))
SCHEMAS = {
    names.INPUT_MESSAGES: "gen-ai-input-messages.json",
    names.OUTPUT_MESSAGES: "gen-ai-output-messages.json",
    names.SYSTEM_INSTRUCTIONS: "gen-ai-system-instructions.json",
    names.TOOL_DEFINITIONS: "gen-ai-tool-definitions.json",
    names.TOOL_CALL_ARGUMENTS: "gen-ai-tool-call-arguments.json",
    names.TOOL_CALL_RESULT: "gen-ai-tool-call-result.json",
    names.RETRIEVAL_DOCUMENTS: "gen-ai-retrieval-documents.json",
}
PART_FIELDS = {
    "text": ("content",),
    "reasoning": ("content",),
    "tool_call": ("name",),
    "tool_call_response": ("response",),
    "server_tool_call": ("name", "server_tool_call"),
    "blob": ("modality", "content"),
    "file": ("modality", "file_id"),
    "uri": ("modality", "uri"),
}
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "enum": (str,),
    "int": (int,),
    "double": (float,),
    "boolean": (bool,),
    "string[]": (tuple, list),
    "any": (str, tuple, list, dict),
}
# An `llm` block that turned out to enclose a call becomes a workflow: it cannot lose what it began with.
CONVERTED = {names.PROVIDER, names.REQUEST_MODEL, names.REQUEST_STREAM, names.WORKFLOW_NAME}


def _span_type(operation: str, kind: SpanKind) -> str | None:
    wanted = "CLIENT" if kind is SpanKind.CLIENT else "INTERNAL"
    found = [(name, told) for name, told in FACTS["spans"].items() if operation in told["operations"]]
    same = [name for name, told in found if told["kind"] == wanted]
    if same or found:
        return (same or [found[0][0]])[0]
    return "gen_ai.client.inference" if operation in names.EXTENSION_OPERATIONS else None


def _extension(name: str) -> str | None:
    for known, kind in names.EXTENSION_ATTRIBUTES.items():
        if name == known or (known.endswith("*") and name.startswith(known[:-1])):
            return kind
    return None


def judge_span(span: ReadableSpan, mine: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong with a span; ``mine`` are attributes that the application set itself."""
    attributes = dict(span.attributes or {})
    operation = str(attributes.get(names.OPERATION, ""))
    found = _status(span, attributes)
    if span.instrumentation_scope is None or span.instrumentation_scope.schema_url != FACTS["schema_url"]:
        found.append("scope without the schema URL")
    if not operation:
        return found if names.STAGE_NAME in attributes else [*found, "no operation"]
    kind = _span_type(operation, span.kind)
    if kind is None:
        return [*found, f"unknown operation {operation}"]
    told = FACTS["spans"][kind]
    converted = operation == names.INVOKE_WORKFLOW and span.kind is SpanKind.CLIENT
    if told["kind"] != ("CLIENT" if span.kind is SpanKind.CLIENT else "INTERNAL") and not converted:
        found.append(f"kind {span.kind} of {kind}")
    for name, rule in told["attributes"].items():
        if rule["level"] == "required" and name not in attributes:
            found.append(f"{name} is missing")
    if names.SERVER_ADDRESS in attributes and names.SERVER_PORT not in attributes:
        found.append("server.port is missing")
    if attributes.get(names.REQUEST_STREAM) is False:
        found.append("request.stream is false")
    for name, value in attributes.items():
        if name not in mine:
            found += _attribute(name, value, told, converted)
    return found + _name(span, attributes, operation)


def _status(span: ReadableSpan, attributes: dict[str, Any]) -> list[str]:
    failed = span.status.status_code is StatusCode.ERROR
    if failed != (names.ERROR_TYPE in attributes):
        return ["status and error.type disagree"]
    if failed and not span.status.description:
        return ["an error without a description"]
    return []


def _name(span: ReadableSpan, attributes: dict[str, Any], operation: str) -> list[str]:
    entity = {
        names.RETRIEVAL: names.DATA_SOURCE_ID,
        names.CREATE_AGENT: names.AGENT_NAME,
        names.INVOKE_AGENT: names.AGENT_NAME,
        names.EXECUTE_TOOL: names.TOOL_NAME,
        names.INVOKE_WORKFLOW: names.WORKFLOW_NAME,
        names.FETCH_RESPONSE: "",
    }.get(operation, names.REQUEST_MODEL)
    second = attributes.get(entity)
    wanted = f"{operation} {second}" if second else operation
    return [] if span.name == wanted else [f"name {span.name!r} is not {wanted!r}"]


def _attribute(name: str, value: Any, told: dict[str, Any], converted: bool) -> list[str]:
    kind = _extension(name)
    if kind is None:
        if name in told["forbidden"]:
            return [f"{name} is forbidden"]
        if name not in told["attributes"] and not (
            converted and (name in CONVERTED or name.startswith("gen_ai.request."))
        ):
            return [f"{name} is unknown here"]
        kind = str(FACTS["types"].get(name, "any"))
    wanted = TYPES.get(kind, (object,))
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        return [f"{name} is a {type(value).__name__}, not {kind}"]
    return judge_content(name, json.loads(value)) if name in SCHEMAS and isinstance(value, str) else []


def judge_content(name: str, value: Any) -> list[str]:
    """What is wrong with a content attribute."""
    schema = json.loads((HERE / "schemas" / SCHEMAS[name]).read_text(encoding="utf-8"))
    found = [f"{name}: {error.message[:80]}" for error in Draft202012Validator(schema).iter_errors(value)]
    if name in (names.INPUT_MESSAGES, names.OUTPUT_MESSAGES):
        for message in value:
            for part in message["parts"]:
                found += [
                    f"{part['type']} part without {f}" for f in PART_FIELDS.get(part["type"], ()) if f not in part
                ]
    return found


def judge_metric(
    name: str, instrument: str, unit: str, bounds: list[float], labels: set[str], profile: str, dimensions: set[str]
) -> list[str]:
    """What is wrong with a metric, under its OpenTelemetry name."""
    ours = {metric.name: metric for metric in names.profile(profile).values()}
    if name not in ours:
        return [f"{name} is not in the table"]
    told = FACTS["metrics"][profile].get(name)
    if told is None:
        return [] if name.startswith(("llm.", "trisignal.")) else [f"{name} is unknown"]
    found = []
    if instrument != told["instrument"]:
        found.append(f"{name} is a {instrument}")
    if unit != told["unit"]:
        found.append(f"{name} has the unit {unit}")
    extra = set(bounds) - {float(bound) for bound in told["bounds"]}
    if set(map(float, told["bounds"])) - set(bounds) or extra - set(names.EXTRA_SECONDS):
        found.append(f"{name} has the bounds {bounds}")
    unknown = labels - set(told["attributes"]) - names.EXTENSION_LABELS - dimensions
    missing = {label for label, level in told["attributes"].items() if level == "required"} - labels
    return (
        found + [f"{name} has the label {label}" for label in unknown] + [f"{name} lacks {label}" for label in missing]
    )
