"""SDKs by OpenAI's generator look from within as they do without us: what their makers' own suites check."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import inspect
import pickle
import sys
import threading
import weakref
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from contract.kits import stainless_kits
from contract.stainless import Sdk, attempt, once, twice
from loopback import Reply

import trisignal
from trisignal import testing

pytestmark = pytest.mark.parametrize("sdk", [pytest.param(Sdk(kit), id=kit.name) for kit in stainless_kits()])


def _state(response: Any) -> tuple[Any, ...]:
    """What a wrapped or bare HTTP response shows of its body's state."""
    http = getattr(response, "http_response", response)
    return type(response), type(http), http.is_closed, http.is_stream_consumed, http.num_bytes_downloaded


# --- classes and methods -----------------------------------------------------------------------------------


def _attributes(package: str) -> dict[tuple[str, str], Any]:
    """Every attribute of every class of a package's loaded modules."""
    return {
        (f"{cls.__module__}.{cls.__qualname__}", name): value
        for module in [loaded for key, loaded in sys.modules.items() if key.partition(".")[0] == package]
        for cls in vars(module).values()
        # Not `isinstance`, which wakes the stand-ins that some versions have for optional packages.
        if issubclass(type(cls), type) and cls.__module__.startswith(package)
        for name, value in vars(cls).items()
        if not name.startswith(("__pydantic", "__annotations", "_abc", "__abstract", "__weakref", "__dict"))
    }


def test_only_base_clients_are_touched(sdk: Sdk) -> None:
    """Nothing of the package changes but methods of its base clients, streams, connections and sessions, and these come back."""
    package = sdk.package.__name__.partition(".")[0]
    with sdk.client() as client:
        sdk.resource(client)
    before = _attributes(package)
    with testing.capture():
        trisignal.instrument(sdk.kit.name)
        during = _attributes(package)
        trisignal.uninstrument()
    after = _attributes(package)
    # Instrumenting may load modules of the package, as its first call would.
    changed = {key for key, value in before.items() if during[key] is not value}
    # Realtime sessions, connections for responses and sessions of managed agents are there only if they were loaded.
    apart = ("Realtime", "Connection", ".sessions.")
    clients = [key for key in changed if not any(part in key[0] for part in apart)]
    touched = {owner.rpartition(".")[2] for owner, _ in clients}
    assert touched <= {"SyncAPIClient", "AsyncAPIClient", "BaseClient", "Stream", "AsyncStream"}
    assert len(clients) <= 10
    assert [key for key, value in before.items() if after[key] is not value] == []
    # A method that a class had from its base is its own while patched, and its base's again.
    known = {owner for owner, _ in before}
    assert [key for key in after if key[0] in known and key not in before] == []


def test_patched_methods_look_the_same(sdk: Sdk) -> None:
    """Signature, names, documentation and kind of the patched methods are those of the originals."""

    def look() -> list[Any]:
        return [
            (
                inspect.signature(method),
                method.__name__,
                method.__qualname__,
                method.__module__,
                method.__doc__,
                inspect.iscoroutinefunction(method),
                inspect.isfunction(method),
            )
            for owner in (sdk.base.SyncAPIClient, sdk.base.AsyncAPIClient)
            for method in (owner.request, owner._process_response)
        ]

    bare = look()
    with testing.capture():
        trisignal.instrument(sdk.kit.name)
        assert look() == bare


def test_clients_look_the_same(sdk: Sdk) -> None:
    """Attributes, signatures of resource methods, ``repr``, copies and pickles of a client are those without us."""

    def app(url: str) -> list[Any]:
        with sdk.client(url) as client:
            resource = sdk.resource(client)
            return [
                sorted({*dir(client)} - {"__slotnames__"}),
                sorted(vars(client)),
                repr(client).partition(" at ")[0],
                type(copy.copy(client)),
                attempt(lambda: pickle.dumps(client)),
                inspect.signature(resource.create),
                inspect.signature(type(resource).create),
                inspect.getdoc(resource.create),
            ]

    twice(sdk, app)


def test_mocks_with_a_spec_can_be_made(sdk: Sdk) -> None:
    """``create_autospec``, ``Mock(spec=…)`` and ``patch.object(autospec=True)`` work, and leave our patch in place."""

    def app(url: str) -> list[Any]:
        client = sdk.client(url)
        fake = mock.create_autospec(sdk.resource(client), instance=True)
        fake.create.return_value = "made up"
        seen = [fake.create(**sdk.arguments()), attempt(lambda: mock.Mock(spec=client).nothing_like_this)[0]]
        with mock.patch.object(sdk.base.SyncAPIClient, "request", autospec=True, return_value="mocked") as request:
            seen += [sdk.create(client), request.call_count]
        with mock.patch.object(type(sdk.resource(client)), "create", autospec=True, return_value=7):
            seen.append(sdk.create(client))
        seen.append(type(sdk.create(client)))
        client.close()
        return seen

    assert len(twice(sdk, app, sdk.reply()).spans) == 1


def test_a_mocked_request_without_spec_is_the_users(sdk: Sdk) -> None:
    """A ``request`` that the user replaces on the instance is called as it is, unrecorded."""

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            client.request = mock.Mock(return_value="mocked")
            client.post = mock.Mock(return_value="mocked too")
            return sdk.create(client), client.request.call_count, client.post.call_count

    twice(sdk, app)


# --- subclasses and copies ---------------------------------------------------------------------------------


def test_subclasses_may_override_what_is_patched(sdk: Sdk) -> None:
    """A client class that overrides patched methods, made before or after, runs its own code; one call is counted."""

    def made(cls: Any) -> Any:
        class Own(cls):
            asked: list[str]

            def request(self, cast_to: Any, options: Any, **more: Any) -> Any:
                self.asked.append(f"{options.method} {options.url}")
                return super().request(cast_to, options, **more)

            def _process_response(self, **given: Any) -> Any:
                self.asked.append("response")
                return super()._process_response(**given)

            def _prepare_options(self, options: Any) -> Any:
                self.asked.append("options")
                return super()._prepare_options(options)

        return Own

    before = made(type(sdk.client()))

    def app(url: str) -> Any:
        seen = []
        for cls in (before, made(type(sdk.client()))):
            client = sdk.client(url)
            client.__class__ = cls
            client.asked = []
            seen += [type(sdk.create(client)), type(client).__name__, *client.asked]
            client.close()
        return seen

    assert len(twice(sdk, app, sdk.reply(), sdk.reply()).spans) == 2


def test_copies_of_clients_are_recorded_alike(sdk: Sdk) -> None:
    """``with_options`` and ``copy`` give clients of the same type and settings, and their calls are counted."""

    if sdk.kit.name == "cerebras":
        pytest.skip("each copy of this client asks for a connection of its own when it is made")

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            copies = [
                client.with_options(timeout=3, max_retries=1),
                client.copy(default_headers={"x-team": "blue"}),
                client.with_options(default_query={"a": "b"}).copy(),
            ]
            return [(type(c), c.timeout, c.max_retries, type(sdk.create(c))) for c in copies]

    assert len(twice(sdk, app, *[sdk.reply()] * 3).spans) == 3


# --- requests ----------------------------------------------------------------------------------------------


def test_request_options_pass(sdk: Sdk) -> None:
    """Extra headers, query, body and a timeout of one request reach the server and nobody else."""

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            more: dict[str, Any] = {"extra_headers": {"x-a": "1"}, "extra_query": {"q": "2"}, "timeout": 5}
            return type(sdk.create(client, **more, extra_body={"surprise": {"deep": [1]}}))

    seen = twice(sdk, app, sdk.reply())
    assert not [key for key in seen.span.attributes or {} if "surprise" in key or "x-a" in key]


def test_sentinels_are_on_no_span(sdk: Sdk) -> None:
    """Arguments that stand for "not given", and ``None``, are neither sent nor recorded otherwise than without us."""
    types = sys.modules[f"{sdk.package.__name__}._types"]
    sentinels = [getattr(types, name) for name in ("NOT_GIVEN", "not_given", "omit") if hasattr(types, name)]
    omit = types.Omit()
    # Early versions know it in headers only.
    values = (*sentinels, omit) if hasattr(types, "omit") else sentinels
    with sdk.client() as client:
        parameters = inspect.signature(sdk.resource(client).create).parameters
    given = {*sdk.arguments(), "stream", "timeout"}
    # Arguments that the SDK itself leaves out by a sentinel.
    left_out = [name for name, p in parameters.items() if isinstance(p.default, type(sentinels[-1]))]
    free = [name for name in left_out if name not in given][:6]
    assert free

    def app(url: str) -> Any:
        seen = []
        with sdk.client(url) as client:
            for value in values:
                seen.append(type(sdk.create(client, **dict.fromkeys(free, value), stream=value, timeout=5)))
                seen.append(type(sdk.create(client, extra_headers={"user-agent": value})))
            # The makers forbid it by type only.
            seen.append(attempt(lambda: type(sdk.create(client, **dict.fromkeys(free), extra_headers=None))))
            seen.append(attempt(lambda: type(sdk.create(client, extra_body={"top_p": omit}))))
        return seen

    replies = [sdk.reply()] * (2 * len(sentinels) + 4)
    seen = twice(sdk, app, *replies, capture_content=True)
    for span in seen.spans:
        for name, value in (span.attributes or {}).items():
            assert isinstance(value, (str, bool, int, float, tuple)), name
            assert "omit" not in str(value).lower(), name
            assert "NOT_GIVEN" not in str(value), name
            assert "NotGiven" not in str(value), name


def test_direct_requests_are_counted_once(sdk: Sdk) -> None:
    """``client.post`` to a model's path is a call like any other; ``client.get`` of a list is none."""
    path: list[str] = []
    _, [request] = once(lambda url: sdk.create(sdk.client(url)), sdk.reply())
    path.append(request.path.removeprefix("/v1"))

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            prefix = "" if str(client.base_url).rstrip("/").endswith("/v1") else "/v1"
            body = sdk.arguments()
            plain = client.post(prefix + path[0], body=body, cast_to=object)
            response = client.post(prefix + path[0], body=body, cast_to=sdk.http.Response)
            listed = client.get(prefix + "/models", cast_to=object)
            return plain, type(response), _state(response), response.content, listed

    assert len(twice(sdk, app, sdk.reply(), sdk.reply(), Reply(body=b"[]")).spans) == 2


def test_custom_http_clients_stay(sdk: Sdk) -> None:
    """A transport and event hooks of the user's own are used as they are, each once per request."""
    http = sdk.http
    body = sdk.reply().body
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append((request.method, request.url.path))
        return http.Response(200, content=body, headers={"content-type": "application/json", "x-request-id": "r1"})

    def fail(request: Any) -> Any:
        raise http.ConnectError("no way", request=request)

    def app(url: str) -> Any:
        seen.clear()
        results: list[Any] = []
        for handler in (answer, fail):
            hooks: dict[str, Any] = {
                "request": [lambda request: seen.append("asked")],
                "response": [lambda response: seen.append(_state(response)[2:])],
            }
            own = http.Client(transport=http.MockTransport(handler), event_hooks=hooks)
            with sdk.client("http://127.0.0.1:9").copy(http_client=own) as client:
                results.append(attempt(lambda client=client: type(sdk.create(client))))
                results += [client._client is own, own.is_closed]
            results.append(own.is_closed)
        return results, list(seen)

    spans = twice(sdk, app).spans
    assert [span.attributes and span.attributes.get("llm.error_kind") for span in spans] == [None, "connection"]


# --- replies -----------------------------------------------------------------------------------------------


def test_results_copy_and_pickle(sdk: Sdk) -> None:
    """A result is of the SDK's own type and equal after pickling, deep copy and a round through JSON."""

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            result = sdk.create(client)
        assert pickle.loads(pickle.dumps(result)) == result == copy.deepcopy(result)
        again = type(result).model_validate_json(result.model_dump_json())
        return type(result), repr(result), sorted(vars(result)), again == result, result.model_fields_set

    twice(sdk, app, sdk.reply())


def test_raw_responses_tell_all(sdk: Sdk) -> None:
    """A raw response has its request, status, headers, times and body, and parses to the same object twice."""

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            raw = sdk.resource(client).with_raw_response.create(**sdk.arguments())
            first, second = raw.parse(), raw.parse()
            return [
                *_state(raw),
                raw.http_request.method,
                raw.http_request.url.path,
                raw.http_request.content,
                raw.status_code,
                raw.headers.get("content-type"),
                getattr(raw, "retries_taken", None),  # early versions do not tell
                isinstance(raw.elapsed, timedelta),
                raw.content if hasattr(raw, "content") else raw.read(),
                type(first),
                first is second,
                repr(raw).replace(url, ""),
                sorted(vars(raw)),
            ]

    assert twice(sdk, app, sdk.reply()).span.attributes


_LEAVING = ("unread", "one piece", "closed", "read", "text", "lines", "bytes", "parsed", "raised")


def _use(response: Any, how: str, seen: list[Any]) -> None:
    if how == "one piece":
        seen.append(next(iter(response.iter_bytes())))
    elif how == "closed":
        response.close()
        seen.append(_state(response))
        response.close()
    elif how == "lines":
        seen.append(list(response.iter_lines()))
    elif how == "bytes":
        seen.append(b"".join(response.iter_bytes(16)))
    elif how == "parsed":
        seen.append(type(response.parse()))
        seen.append(type(response.parse()))
    elif how == "raised":
        raise KeyError("the application's own")
    elif how != "unread":
        seen.append(getattr(response, how)())
        seen.append(_state(response))
        seen.append(getattr(response, how)())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("how", _LEAVING)
def test_streaming_responses_close_when_they_do(sdk: Sdk, how: str, streamed: bool) -> None:
    """However a streaming response is used and left, it is closed and consumed at the same moments."""
    shape = "stream-read" if streamed else "create"

    def app(url: str) -> Any:
        seen: list[Any] = []
        with sdk.client(url) as client:
            manager = sdk.resource(client).with_streaming_response.create(**sdk.arguments(shape))

            def enter() -> None:
                with manager as response:
                    seen.extend([_state(response), response])
                    _use(response, how, seen)
                    seen.append(_state(response))

            seen.append(attempt(enter))
            response = seen.pop(1)
            seen += [_state(response), attempt(response.read), attempt(lambda: next(response.iter_lines()))]
            seen += [_state(response), getattr(response, "retries_taken", None), response.http_request.url.path]
            seen += [connection.info().replace(url, "") for connection in client._client._transport._pool.connections]
        return seen

    reply = dataclasses.replace(sdk.reply(shape), apart=streamed and how == "one piece")
    assert len(twice(sdk, app, reply).spans) == 1


@pytest.mark.parametrize("how", ["unread", "one piece", "closed", "read"])
def test_async_streaming_responses_close_when_they_do(sdk: Sdk, how: str) -> None:
    """The same for an async client."""

    async def run(url: str) -> Any:
        seen: list[Any] = []
        async with sdk.async_client(url) as client:
            manager = sdk.resource(client).with_streaming_response.create(**sdk.arguments("stream-read"))
            async with manager as response:
                seen.append(_state(response))
                if how == "one piece":
                    async for piece in response.iter_bytes():
                        seen.append(piece)
                        break
                elif how == "closed":
                    await response.close()
                elif how == "read":
                    seen.append(await response.read())
                seen.append(_state(response))
            seen.append(_state(response))
        return seen

    # How much comes in one read must not depend on how busy the machine is.
    reply = dataclasses.replace(sdk.reply("stream-read"), apart=how == "one piece")
    assert len(twice(sdk, lambda url: asyncio.run(run(url)), reply).spans) == 1


def test_streams_are_the_sdks_own(sdk: Sdk) -> None:
    """A stream is an instance of the SDK's class, with its attributes and methods, at every moment."""

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            stream = sdk.stream(client)
            seen = [
                isinstance(stream, sdk.package.Stream),
                isinstance(stream, Iterator),
                sorted(name for name in dir(stream) if not name.startswith("_")),
                repr(stream).partition(" at ")[0],
                inspect.isgenerator(stream._iterator),
                _state(stream.response),
                isinstance(stream.response.stream, sdk.http.SyncByteStream),
                type(next(stream)),
                _state(stream.response)[2:4],
            ]
            rest = [type(chunk) for chunk in stream]
            return [*seen, rest, _state(stream.response), attempt(lambda: next(stream)), stream.close()]

    assert len(twice(sdk, app, sdk.reply("stream-read")).spans) == 1


def test_stream_classes_of_the_user_are_used(sdk: Sdk) -> None:
    """``stream_cls`` decides the type of the stream, and a stream subclass keeps its own iteration."""

    class Own(sdk.package.Stream[Any]):  # type: ignore[misc,name-defined]
        def __stream__(self) -> Iterator[Any]:
            for chunk in super().__stream__():
                yield ("own", type(chunk))

    _, [request] = once(lambda url: list(sdk.stream(sdk.client(url))), sdk.reply("stream-read"))

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            path = url + request.path
            body = sdk.arguments("stream-read")
            stream = client.post(path, body=body, cast_to=object, stream=True, stream_cls=Own)
            return type(stream), list(stream), _state(stream.response)

    twice(sdk, app, sdk.reply("stream-read"))


def test_streams_may_be_read_below(sdk: Sdk) -> None:
    """The HTTP response under a stream can be read directly, as bytes or lines, instead of the stream."""

    def app(url: str) -> Any:
        seen = []
        with sdk.client(url) as client:
            for read in ("read", "iter_lines", "iter_raw", "close"):
                stream = sdk.stream(client)
                result = getattr(stream.response, read)()
                seen += [list(result) if hasattr(result, "__next__") else result, _state(stream.response)]
                seen.append(attempt(lambda stream=stream: list(stream)))
        return seen

    assert len(twice(sdk, app, *[sdk.reply("stream-read")] * 4).spans) == 4


def test_errors_are_the_sdks_own(sdk: Sdk) -> None:
    """An error has its class, request, response, body and text; it pickles or not as without us."""
    refused = Reply(429, {"x-request-id": "r9"}, b'{"error": {"message": "slow down", "type": "limit", "code": null}}')

    def app(url: str) -> Any:
        with sdk.client(url) as client:
            with pytest.raises(sdk.package.RateLimitError) as caught:
                sdk.create(client)
        error = caught.value
        return [
            type(error),
            str(error),
            repr(error),
            error.status_code,
            error.body,
            error.request.url.path,
            _state(error.response),
            error.__cause__,
            type(error.__context__),
            sorted(vars(error)),
            attempt(lambda: type(pickle.loads(pickle.dumps(error)))),
        ]

    twice(sdk, app, refused)


# --- memory and threads ------------------------------------------------------------------------------------


def test_nothing_is_kept_alive(sdk: Sdk) -> None:
    """Clients, results, streams and responses die when the application lets go of them."""

    def app(url: str) -> Any:
        gc.freeze()  # what is here by now is not looked through
        client = sdk.client(url)
        result, stream = sdk.create(client), sdk.stream(client)
        list(stream)
        refs = [weakref.ref(thing) for thing in (client, result, stream, stream.response)]
        client.close()
        del client, result, stream
        gc.collect()
        return [ref() is None for ref in refs]

    assert len(twice(sdk, app, sdk.reply(), sdk.reply("stream-read")).spans) == 2


def test_threads_share_a_client(sdk: Sdk) -> None:
    """Calls from many threads over one client are counted once each, and none is another's child."""

    def app(url: str) -> Any:
        results: list[Any] = []
        with sdk.client(url) as client:
            threads = [threading.Thread(target=lambda: results.append(type(sdk.create(client)))) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return results

    spans = twice(sdk, app, *[sdk.reply()] * 8).spans
    assert len({span.context.trace_id for span in spans if span.context}) == 8
    assert {span.parent for span in spans} == {None}
