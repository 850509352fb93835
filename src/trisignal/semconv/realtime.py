"""Names of realtime sessions, their turns and responses; `trisignal.semconv` re-exports them.

The released conventions know no realtime calls. A draft of the next ones (``gen-ai-realtime-spans.md`` in
semantic-conventions-genai, not merged) names the operation of a response and the id of its session: those
names stand in `DRAFT`, and are used in the dated metric profile only.
"""

from __future__ import annotations

from trisignal.semconv.metric import LONG_SECONDS, PROVIDER, REQUEST_MODEL, WORKFLOW_SECONDS, Metric, R, described

REALTIME_SESSION = "realtime_session"
REALTIME_TURN = "realtime_turn"
REALTIME_INFERENCE = "realtime_inference"
"""The draft's operation of a response; in the released profile it is that of the vendor's other calls."""
REALTIME_SESSION_ID = "llm.realtime.session_id"
DRAFT = {REALTIME_SESSION_ID: "gen_ai.realtime_session.id"}
"""The draft's names in place of ours."""
TIME_TO_FIRST_AUDIO_S = "llm.time_to_first_audio_s"
SESSION_TURNS = "llm.realtime.turns"
SESSION_RESPONSES = "llm.realtime.responses"
SESSION_INTERRUPTIONS = "llm.realtime.interruptions"
SESSION_ERRORS = "llm.realtime.errors"
SESSION_RECONNECTS = "llm.realtime.reconnects"
USAGE_OUTPUT_AUDIO_S = "llm.usage.output_audio_s"
USAGE_BILLABLE_AUDIO_S = "llm.usage.billable_audio_s"

REALTIME_ATTRIBUTES: dict[str, str] = {
    **dict.fromkeys((REALTIME_SESSION_ID, *DRAFT.values()), "string"),
    **dict.fromkeys(
        (SESSION_TURNS, SESSION_RESPONSES, SESSION_INTERRUPTIONS, SESSION_ERRORS, SESSION_RECONNECTS), "int"
    ),
    **dict.fromkeys((TIME_TO_FIRST_AUDIO_S, USAGE_OUTPUT_AUDIO_S, USAGE_BILLABLE_AUDIO_S), "double"),
}
"""Span and log attributes beyond the conventions, with their types."""

_ENDED = (PROVIDER, REQUEST_MODEL, "error.type", "llm.outcome")

REALTIME_METRICS: dict[str, Metric] = {
    "first_audio": described(
        "llm.time_to_first_audio", "histogram", "s", R,
        "End of the user's speech, or request where there was none, to the first audio of the response", LONG_SECONDS),
    "session_duration": described(
        "llm.realtime_session_duration", "histogram", "s", _ENDED, "Duration of realtime sessions", WORKFLOW_SECONDS),
    "turn_duration": described(
        "llm.realtime_turn_duration", "histogram", "s", _ENDED,
        "Duration of turns of realtime sessions: all responses and tool calls to what the user said", LONG_SECONDS),
    "interruptions": described(
        "llm.realtime_interruptions", "counter", "{response}", (PROVIDER, REQUEST_MODEL, "reason"),
        "Responses of realtime sessions that were cut off, by reason as the provider reports it"),
    "session_errors": described(
        "llm.realtime_errors", "counter", "{error}", (PROVIDER, REQUEST_MODEL, "error.type"),
        "Errors that the provider reported in realtime sessions, those that changed nothing included"),
    "reconnects": described(
        "llm.realtime_reconnects", "counter", "{connection}", (PROVIDER, REQUEST_MODEL),
        "Connections that continued a realtime session"),
}  # fmt: skip
"""Metrics of realtime sessions, by the key that the sinks use."""
