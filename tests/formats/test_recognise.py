"""Which format a value is in, and what recognition must never do."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from trisignal.formats import Format
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.gemini import EMBED_CONTENT, GENERATE_CONTENT
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.formats.openai_responses import RESPONSES
from trisignal.formats.recognise import recognise

CHAT_REPLY = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
CHAT_CHUNK = {**CHAT_REPLY, "object": "chat.completion.chunk"}
COMPLETION = {**CHAT_REPLY, "object": "text_completion"}
USAGE = {"prompt_tokens": 1, "total_tokens": 1}
VECTORS = {
    "object": "list",
    "model": "m",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
    "usage": USAGE,
}
RESPONSE = {
    "id": "r",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "output": [],
    "parallel_tool_calls": False,
    "tool_choice": "auto",
    "tools": [],
}
CREATED = {"type": "response.created", "sequence_number": 0, "response": RESPONSE}
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
STARTED = {"type": "message_start", "message": MESSAGE}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "a"}], "role": "model"}}],
    "usageMetadata": {"promptTokenCount": 1},
    "modelVersion": "m",
}

SHAPES: list[tuple[dict[str, Any], Format]] = [
    (CHAT_REPLY, CHAT),
    (CHAT_CHUNK, CHAT),
    (COMPLETION, CHAT),
    (VECTORS, EMBEDDINGS),
    (RESPONSE, RESPONSES),
    (CREATED, RESPONSES),
    (MESSAGE, MESSAGES),
    (STARTED, MESSAGES),
    (TEXT, MESSAGES),
    ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}, MESSAGES),
    ({"type": "message_stop"}, MESSAGES),
    ({"type": "error", "error": {"type": "overloaded_error"}}, MESSAGES),
    ({"type": "completion", "completion": " a", "stop_reason": None}, MESSAGES),
    (GEMINI, GENERATE_CONTENT),
    ({"usageMetadata": {}, "modelVersion": "m"}, GENERATE_CONTENT),
    ({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}}, GENERATE_CONTENT),
    ({"candidates": [], "usage_metadata": {}}, GENERATE_CONTENT),
    ({"embeddings": [{"values": [0.1]}]}, EMBED_CONTENT),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "object",
    "type",
    "data",
    "error",
    "embedding",
    "embeddings",
    "predictions",
    "candidates",
    "stop_reason",
]


class Trap:
    """Notes what is done to it, as `recognise` would swallow an exception."""

    def __init__(self) -> None:
        vars(self)["seen"] = []

    def __getattr__(self, name: str) -> Any:
        vars(self)["seen"].append(name)
        raise AttributeError(name)

    def __iter__(self) -> Iterator[Any]:
        vars(self)["seen"].append("__iter__")
        return iter(())

    def __eq__(self, other: object) -> bool:
        vars(self)["seen"].append("__eq__")
        return False

    __hash__ = object.__hash__


@pytest.mark.parametrize(("value", "format"), SHAPES)
def test_each_shape_has_its_format(value: dict[str, Any], format: Format) -> None:
    """Decoded replies and chunks are told apart by their shape."""
    assert recognise(value) is format


@pytest.mark.parametrize(
    "value",
    [
        {"type": "message", "role": "assistant", "content": [], "id": "m", "status": "completed"},
        {"type": "message", "content": "of the application"},
        {"type": "ping"},
        {"type": "error", "code": "server_error", "message": "m", "sequence_number": 3},
        {"object": "list", "data": [{"id": "m", "object": "model"}]},
        {"object": "list", "data": []},
        {"candidates": ["Ada", "Grace"]},
        {"embeddings": [[0.1, 0.2]]},
        {"embedding": None},
        {"answer": 42},
        {},
    ],
)
def test_similar_mappings_are_not_taken_for_replies(value: dict[str, Any]) -> None:
    """A shared word is not enough."""
    assert recognise(value) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        1.5,
        "text",
        b"bytes",
        [CHAT_REPLY],
        (CHAT_REPLY,),
        object(),
        dict,
        BaseModel,
        OrderedDict(CHAT_REPLY),
    ],
)
def test_nothing_but_dicts_and_models_is_recognised(value: object) -> None:
    """Strings, lists, classes and other objects have no format."""
    assert recognise(value) is None


def test_objects_of_openai_are_recognised() -> None:
    """The SDK's objects have the formats of their JSON, again and again."""
    openai = pytest.importorskip("openai")
    types, chat, responses = openai.types, openai.types.chat, openai.types.responses
    for _ in range(2):
        assert recognise(chat.ChatCompletion.model_validate(CHAT_REPLY)) is CHAT
        assert recognise(chat.ChatCompletionChunk.model_validate(CHAT_CHUNK)) is CHAT
        assert recognise(types.Completion.model_validate(COMPLETION)) is CHAT
        assert recognise(types.CreateEmbeddingResponse.model_validate(VECTORS)) is EMBEDDINGS
        assert recognise(responses.Response.model_validate(RESPONSE)) is RESPONSES
        assert recognise(responses.ResponseCreatedEvent.model_validate(CREATED)) is RESPONSES


def test_objects_of_anthropic_are_recognised() -> None:
    """Messages and events of the SDK are recognised, other objects of it are not."""
    types = pytest.importorskip("anthropic.types")
    for _ in range(2):
        assert recognise(types.Message.model_validate(MESSAGE)) is MESSAGES
        assert recognise(types.RawMessageStartEvent.model_validate(STARTED)) is MESSAGES
        assert recognise(types.RawContentBlockDeltaEvent.model_validate(TEXT)) is MESSAGES
        assert recognise(types.TextBlock(type="text", text="a")) is None


def test_objects_of_google_are_recognised() -> None:
    """Responses of the SDK are recognised, even empty ones."""
    types = pytest.importorskip("google.genai.types")
    for _ in range(2):
        assert recognise(types.GenerateContentResponse()) is GENERATE_CONTENT
        assert recognise(types.GenerateContentResponse.model_validate(GEMINI)) is GENERATE_CONTENT
        embeddings = types.EmbedContentResponse.model_validate({"embeddings": [{"values": [0.1]}]})
        assert recognise(embeddings) is EMBED_CONTENT
        assert recognise(types.Part(text="a")) is None


def test_a_model_of_the_application_is_told_by_its_shape_each_time() -> None:
    """One class of the application may hold replies and other things."""

    class Record(BaseModel):
        model_config = ConfigDict(extra="allow")
        id: str

    assert recognise(Record.model_validate(CHAT_REPLY)) is CHAT
    assert recognise(Record(id="x")) is None
    assert recognise(Record.model_validate(MESSAGE)) is MESSAGES


def test_an_unread_iterator_is_left_alone() -> None:
    """Generators are neither recognised nor started."""
    started = []

    def chunks() -> Iterator[dict[str, Any]]:
        started.append(True)
        yield CHAT_CHUNK

    generator = chunks()
    assert recognise(generator) is None
    assert not started
    assert list(generator) == [CHAT_CHUNK]


@pytest.mark.parametrize("key", ["data", "embedding", "embeddings", "predictions", "error"])
def test_foreign_objects_are_not_looked_into(key: str) -> None:
    """No attribute of an unknown object is read, wherever in a mapping it lies."""
    trap = Trap()
    assert recognise(trap) is None
    for inner in (trap, [trap], (trap,), {"embeddings": trap}, [{"embeddings": [trap]}]):
        assert recognise({"object": "list", key: inner}) is None
        assert recognise({"type": "error", key: inner}) is None
    assert trap.seen == []


def test_properties_of_models_do_not_run() -> None:
    """Only what a model stores is read."""
    ran = []

    class Lazy(BaseModel):
        id: str = "x"

        @property
        def object(self) -> str:
            ran.append("object")
            return "chat.completion"

    assert recognise(Lazy()) is None
    assert not ran


def test_a_class_with_a_models_names_is_no_model() -> None:
    """Looking like pydantic is not enough: attributes of such an object are not read."""

    class Imitation(Trap):
        model_fields: ClassVar[dict[str, Any]] = {}

    imitation = Imitation()
    assert recognise(imitation) is None
    assert imitation.seen == []


def test_a_class_that_cannot_be_hashed_is_harmless() -> None:
    """Strange metaclasses end in no format."""

    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]  # that is the point

    class Strange(metaclass=Meta):
        pass

    assert recognise(Strange()) is None


def test_a_mapping_that_contains_itself_is_harmless() -> None:
    """Endless nesting ends in no format."""
    endless: dict[str, Any] = {}
    endless["data"] = endless
    assert recognise(endless) is None


def test_a_model_that_was_never_initialised_is_harmless() -> None:
    """A model without its storage ends in no format."""

    class Answer(BaseModel):
        id: str

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert recognise(Answer.__new__(Answer)) is None


@given(st.dictionaries(st.sampled_from(KEYS), JSON), JSON)
def test_recognition_never_raises(mapping: dict[str, Any], value: Any) -> None:
    """Any JSON has a format or none, and is not changed."""
    for given_value in (mapping, value):
        before = repr(given_value)
        found = recognise(given_value)
        assert found is None or isinstance(found, Format)
        assert repr(given_value) == before


@given(st.sampled_from(SHAPES), st.dictionaries(st.text("xyz", min_size=1, max_size=4), JSON, max_size=4))
def test_unknown_members_do_not_hide_a_format(shape: tuple[dict[str, Any], Format], added: dict[str, Any]) -> None:
    """Vendors may add members without the format being lost."""
    value, format = shape
    assert recognise({**added, **value}) is format
