"""A trace backend behind HTTP: its address without credentials, and answers to GET and POST requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from trisignal.errors import SourceError
from trisignal.web.requests import send

TIMEOUT_S = 30.0
MOST_BYTES = 64 << 20
"""Largest answer that is read."""
_MOST_QUOTED = 200


class HttpBackend:
    """Sends requests to one address; credentials go into a header and are never shown.

    Args:
        url: ``SCHEME+http://…`` or ``SCHEME+https://…``, with ``user:password@`` where the server wants them.
        scheme: The part before the plus.
        headers: Sent with each request.
        ports: Port of a transport where the URL has none; the transport's own when omitted.
        path_is_place: The path of the URL stands before those of all requests.

    Raises:
        SourceError: The URL has another form.
    """

    def __init__(
        self,
        url: str,
        scheme: str,
        headers: Mapping[str, str] | None = None,
        *,
        ports: Mapping[str, int] | None = None,
        path_is_place: bool = True,
    ) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port, parts = "", None, urlsplit("")
        transport = parts.scheme.lower().removeprefix(f"{scheme}+")
        if not host or transport not in ("http", "https"):
            raise SourceError(url, f"the address must be {scheme}+http://HOST[:PORT][/PATH] or {scheme}+https://…")
        place = f"[{host}]" if ":" in host else host
        port = port or (ports or {}).get(transport)
        place += f":{port}" if port else ""
        self.path = parts.path.strip("/")
        """The path of the URL."""
        self._base = f"{transport}://{place}" + (parts.path.rstrip("/") if path_is_place else "")
        self.name = f"{scheme}+{self._base}"
        """For people: the address without credentials."""
        self.options = dict(parse_qsl(parts.query))
        """What stands behind the question mark."""
        self._headers = {"Accept": "application/json", "User-Agent": "trisignal", **(headers or {})}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON document of a path; None when the server has no such thing (404).

        Raises:
            SourceError: There was no answer, or it was a refusal, or no JSON.
        """
        body = self.request(path, query)
        return None if body is None else self.parsed(body)

    def parsed(self, body: bytes) -> Any:
        """An answer as JSON.

        Raises:
            SourceError: It is none.
        """
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise SourceError(self.name, "the answer is not JSON: is this the address of the API?") from None

    def request(self, path: str, query: Mapping[str, Any] | None = None, body: bytes | None = None) -> bytes | None:
        """An answer as it is; None for 404.

        Raises:
            SourceError: There was no answer, a refusal, or one that is too large.
        """
        # Loads much that a process without such requests can spare.
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.request import Request

        url = self._base + path + (f"?{urlencode(query)}" if query else "")
        try:
            with send(Request(url, data=body, headers=self._headers), TIMEOUT_S) as reply:
                answer: bytes = reply.read(MOST_BYTES + 1)
        except HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                said = " ".join(error.read(_MOST_QUOTED).decode("utf-8", "replace").split())
            raise SourceError(self.name, f"answered {error.code} {said}".strip()) from None
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SourceError(self.name, f"no answer ({reason or type(error).__name__})") from None
        if len(answer) > MOST_BYTES:
            raise SourceError(self.name, f"the answer is larger than {MOST_BYTES >> 20} MiB: ask for a shorter window")
        return answer
