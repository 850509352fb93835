"""The record of a call is built by names: each field has its own value, whatever the order."""

from __future__ import annotations

from typing import Any

from trisignal.call import Call, Draft
from trisignal.config import Settings
from trisignal.policy import Policy
from trisignal.policy.charge import Charge
from trisignal.policy.price import Pricer

FROM_DRAFT = (
    "operation", "kind", "role", "provider", "request_model", "response_model", "name", "error_type", "error_kind",
    "start_unix_ns", "start_ns", "usage", "counted", "pending", "chunk_times", "opening", "server_address",
    "server_port", "attempts", "agent", "agent_calls", "tool_calls", "bound", "background_id", "bill",
)  # fmt: skip
"""Fields of a record that are those of its draft, by the same names."""
KEPT = ("counted", "pending", "start_ns", "start_unix_ns")
"""Fields whose draft is told in numbers or flags."""


def test_every_field_is_found_again(monkeypatch: Any) -> None:
    """Every field that comes from the draft, and every other one, holds its own sentinel and nobody else's."""
    policy = Policy(Settings(metric_dimensions=("tenant",)), str, Pricer(), lambda: None)
    draft = Draft("chat")
    for name in FROM_DRAFT:
        setattr(draft, name, f"<{name}>")
    draft.start_ns, draft.end_ns = 1_000_000_000, 4_000_000_000
    draft.outcome, draft.vendor_request_id = "cancelled", "<vendor_request_id>"
    draft.retries, draft.server_tools, draft.bound = ["timeout"], {"search": 2}, {"tenant": "<tenant>"}
    monkeypatch.setattr(policy, "span_name", lambda draft: "<span_name>")
    sentinels: Any = ({"closing": 1}, {"content": "<content>"}, ("<error_message>", "<error_stack>"))
    charge: Any = Charge("<cost>", "<unpriced>", "<list_cost>", "<tokens>")  # type: ignore[arg-type]
    model_call: Any = "<model_call>"

    call = policy._record(draft, *sentinels, charge, model_call)

    told = {
        "batch": "", "start_ns": 1_000_000_000, "duration_s": 3.0, "outcome": "cancelled", "retries": ("timeout",), "rate_limits": (),
        "closing": {"closing": 1}, "content": {"content": "<content>"}, "dimensions": ("<tenant>",), "trace_id": "",
        "span_id": "", "sampled": False, "server_tools": {"search": 2}, "bound": {"tenant": "<tenant>"},
    }  # fmt: skip
    expected = {name: told.get(name, f"<{name}>") for name in Call._fields}
    assert call._asdict() == expected
