"""What every request passes before a page sees it: host, origin, token, size; and the headers of every answer.

A server on the loopback address is within reach of every page that a browser on this machine opens:
DNS rebinding makes a foreign name point here (so the ``Host`` header is checked), and forms may post
across sites (so ``Origin`` is).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "trisignal_console"
MOST_BODY_BYTES = 16 * 1024 * 1024
_MACHINES = ("/v1/", "/health")
"""Paths that programs use: what is refused there is refused as JSON."""


class Gate:
    """ASGI middleware that refuses what must not reach the console.

    Args:
        app: What is behind it.
        hosts: Names that the ``Host`` header may have.
        token: What a caller has to present, as a bearer token or once as ``?token=``; "" for none.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str = "") -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    out.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        await self._app(scope, _limited(receive, headers), answer)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        if host_name(headers.get("host", "")) not in self._hosts:
            return refuse(path, 421, "this host name is not served here: use the address that the console printed")
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and not _same(origin, headers.get("host", "")):
            return refuse(path, 403, "requests from pages of other sites are refused")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > MOST_BODY_BYTES:
            return refuse(path, 413, f"the body is larger than {MOST_BODY_BYTES} bytes")
        if not self._token or path.startswith("/static/"):
            return None
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        presented = query.pop("token", [""])[0]
        if presented and self._is_token(presented):
            # The token must not stay in the address bar, in history and in logs.
            target = scope["path"] + (f"?{urlencode(query, doseq=True)}" if query else "")
            if target.startswith("//"):
                target = "/"
            response = RedirectResponse(target, 303)
            response.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return response
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(bearer.strip()):
            return None
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except Exception:  # a cookie header that cannot be parsed is not a token
            cookie = None
        if cookie is not None and self._is_token(cookie.value):
            return None
        refused = refuse(scope["path"], 401, "a token is needed: open /?token=… once, or send Authorization: Bearer …")
        refused.headers["www-authenticate"] = "Bearer"
        return refused

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())


def host_name(header: str) -> str:
    """The name in a ``Host`` header, without port and brackets."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _same(origin: str, host: str) -> bool:
    return urlsplit(origin).netloc.lower() == host.lower() if "://" in origin else False


def refuse(path: str, status: int, problem: str) -> Response:
    """A refusal in the form that a caller of the path expects."""
    if path.startswith(_MACHINES):
        return JSONResponse({"error": problem}, status)
    return PlainTextResponse(problem + "\n", status)


class TooLarge(Exception):
    """The body of a request is larger than `MOST_BODY_BYTES`."""


def _limited(receive: Receive, headers: Headers) -> Receive:
    """A body without a length is counted as it comes."""
    if headers.get("content-length", "").isdigit():
        return receive
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BODY_BYTES:
            raise TooLarge
        return message

    return counted
