"""What tests of SDKs by OpenAI's generator share: any of their kits as application code that runs twice."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from contract.kits import package_of
from contract.shapes import ClientKit
from loopback import Loopback, Recorded, Reply

import trisignal
from trisignal import testing


class _Path:
    """Stands for a client and remembers how a call is reached and what it is given."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getattr__(self, name: str) -> _Path:
        return _Path(*self._names, name)

    def __call__(self, **arguments: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
        return self._names, arguments


@dataclass(frozen=True)
class Sdk:
    """One SDK: its package, and the two calls that its kit makes."""

    kit: ClientKit

    @property
    def package(self) -> ModuleType:
        """The SDK's package."""
        return importlib.import_module(package_of(self.kit))

    @property
    def base(self) -> Any:
        """Its module of base clients."""
        return importlib.import_module(f"{package_of(self.kit)}._base_client")

    @property
    def http(self) -> Any:
        """The HTTP package that it uses: httpx, or one that looks like it."""
        roots = [cls.__module__.partition(".")[0] for cls in self.base.SyncHttpxClientWrapper.__mro__]
        return sys.modules[next(root for root in roots if root.startswith("httpx"))]

    def client(self, url: str = "http://127.0.0.1:9") -> Any:
        """A sync client of the kit."""
        return self.kit.client(url, 0, 10.0)

    def async_client(self, url: str = "http://127.0.0.1:9") -> Any:
        """An async client of the kit."""
        return self.kit.async_client(url, 0, 10.0)

    def reply(self, shape: str = "create") -> Reply:
        """The good reply of a shape."""
        [reply] = next(found for found in self.kit.shapes if found.name == shape).replies
        return reply

    def call(self, shape: str = "create") -> tuple[tuple[str, ...], dict[str, Any]]:
        """Path of the resource method, and its arguments."""
        start = next(found for found in self.kit.shapes if found.name == shape).start
        return cast("tuple[tuple[str, ...], dict[str, Any]]", start(_Path()))

    def arguments(self, shape: str = "create") -> dict[str, Any]:
        """What the kit's call is given."""
        return dict(self.call(shape)[1])

    def resource(self, client: Any) -> Any:
        """The resource that the kit's ``create`` belongs to."""
        for name in self.call()[0][:-1]:
            client = getattr(client, name)
        return client

    def create(self, client: Any, **more: Any) -> Any:
        """Make the kit's ``create`` with further arguments."""
        return self.resource(client).create(**{**self.arguments(), **more})

    def stream(self, client: Any, **more: Any) -> Any:
        """Make the kit's ``stream-read`` with further arguments."""
        return self.resource(client).create(**{**self.arguments("stream-read"), **more})


def once(app: Callable[[str], Any], *replies: Reply) -> tuple[Any, list[Recorded]]:
    """Run an application with the URL of a fresh server; what it returned, and what the server saw."""
    with Loopback() as server:
        server.play(*replies)
        result = app(server.url)
        return result, list(server.requests)


def twice(sdk: Sdk, app: Callable[[str], Any], *replies: Reply, **settings: Any) -> testing.Seen:
    """Run an application bare and instrumented, assert that both saw the same, return what was recorded."""
    bare, asked = once(app, *replies)
    with testing.capture(**settings) as seen:
        trisignal.instrument(sdk.kit.name)
        try:
            instrumented, asked_again = once(app, *replies)
        finally:
            trisignal.uninstrument()
        assert instrumented == bare
        assert [_wire(request) for request in asked_again] == [_wire(request) for request in asked]
        assert seen.value("trisignal_internal_errors_total") == 0
    return seen


def _wire(request: Recorded) -> tuple[Any, ...]:
    headers = [(name, value) for name, value in request.headers if name.lower() != "host"]
    return request.method, request.path, headers, request.body


def attempt(make: Callable[[], Any]) -> Any:
    """What something returns, or the type and text of what it raises."""
    try:
        return make()
    except Exception as error:
        return type(error), str(error)
