"""Random trees of calls, ours and others', nested in any order: what counts is the sum of the leaves."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import Tracer

import trisignal
from trisignal.testing import Seen, capture

WORDS: dict[str, dict[str, str]] = {
    "current": {"op": "gen_ai.operation.name", "in": "gen_ai.usage.input_tokens", "out": "gen_ai.usage.output_tokens"},
    "old": {"op": "llm.request.type", "in": "gen_ai.usage.prompt_tokens", "out": "gen_ai.usage.completion_tokens"},
    "openinference": {
        "op": "openinference.span.kind", "in": "llm.token_count.prompt", "out": "llm.token_count.completion",
    },
}  # fmt: skip


class Node(NamedTuple):
    """One span or block, and what runs inside of it one after the other."""

    kind: str
    """``ours``, ``http``, ``agent``, ``workflow`` or a vocabulary of `WORDS`."""
    tokens: int
    late: bool
    """It says what it is at its end only."""
    thread: bool
    """What runs inside of it runs in a thread that has the context of spans only."""
    crossed: bool
    """It ends before the last of what runs inside of it does."""
    inside: tuple[Node, ...]


def is_inference(node: Node) -> bool:
    """Whether it claims to be a call to a model."""
    return node.kind == "ours" or node.kind in WORDS


def leaves(node: Node) -> list[Node]:
    """The inferences that have no other one inside."""
    below = [leaf for inner in node.inside for leaf in leaves(inner)]
    return below or ([node] if is_inference(node) else [])


def nodes(inside: st.SearchStrategy[tuple[Node, ...]]) -> st.SearchStrategy[Node]:
    """One node around what is given."""
    return st.builds(
        Node, st.sampled_from(["ours", "http", "agent", "workflow", *WORDS]), st.integers(1, 1000), st.booleans(),
        st.booleans(), st.booleans(), inside,
    )  # fmt: skip


TREES = st.recursive(
    nodes(st.just(())), lambda inner: nodes(st.lists(inner, max_size=3).map(tuple)), max_leaves=12
)  # fmt: skip


class Runner:
    """Makes a tree happen."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def run(self, node: Node) -> None:
        """One node, and all that is inside."""
        if node.kind == "ours":
            with trisignal.llm(model=f"m{node.tokens}") as call:
                self._inside(node)
                call.set_usage(input_tokens=node.tokens, output_tokens=1)
            return
        told = self._attributes(node)
        early = {} if node.late else told
        span = self._tracer.start_span(node.kind, attributes=early)
        if not node.crossed or not node.inside or not is_inference(node.inside[-1]) or node.inside[-1].kind == "ours":
            with trace.use_span(span):
                self._inside(node)
            span.set_attributes(told)
            span.end()
            return
        with trace.use_span(span):
            self._inside(node._replace(inside=node.inside[:-1]))
            last = node.inside[-1]
            inner = self._tracer.start_span(last.kind, attributes=self._attributes(last))
            with trace.use_span(inner):
                self._inside(last)
        span.set_attributes(told)
        span.end()
        inner.end()

    def _inside(self, node: Node) -> None:
        if not node.thread or not node.inside:
            for inner in node.inside:
                self.run(inner)
            return
        around = get_current()

        def work() -> None:
            token = attach(around)
            for inner in node.inside:
                self.run(inner)
            detach(token)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    @staticmethod
    def _attributes(node: Node) -> Any:
        if node.kind in ("agent", "workflow"):
            sums = {"gen_ai.usage.input_tokens": 10_000, "gen_ai.usage.output_tokens": 10_000}
            return {"gen_ai.operation.name": f"invoke_{node.kind}", "gen_ai.agent.name": "a", **sums}
        words = WORDS.get(node.kind)
        if words is None:
            return {"http.request.method": "POST"}
        told = {words["in"]: node.tokens, words["out"]: 1, "gen_ai.request.model": f"m{node.tokens}"}
        return {words["op"]: "LLM" if node.kind == "openinference" else "chat", **told}


def run(trees: list[Node]) -> Seen:
    """Let trees happen one after the other, and see what comes of it."""
    with capture() as seen:
        runner = Runner(seen.telemetry.tracer_provider.get_tracer("other"))
        for tree in trees:
            runner.run(tree)
    return seen


@settings(max_examples=60)
@given(st.lists(TREES, max_size=3))
def test_the_leaves_are_what_counts(trees: list[Node]) -> None:
    """Counted calls are the innermost inferences, and counted tokens are theirs."""
    want = [leaf.tokens for tree in trees for leaf in leaves(tree)]
    seen = run(trees)
    assert seen.value("llm_requests_total") == len(want)
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == sum(want)
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == len(want)
    told = [call.usage.input for call in seen.calls if call.model_call and call.counted and call.usage]
    assert sorted(told) == sorted(want)
