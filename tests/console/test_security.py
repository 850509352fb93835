"""What must not reach the console, and what its answers must say."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from console.conftest import served

from trisignal.console import security


@pytest.mark.parametrize("host", ["evil.test", "evil.test:80", "127.0.0.1.evil.test", "", "[::1", "10.0.0.1"])
def test_a_foreign_host_name_is_refused(http: httpx.Client, host: str) -> None:
    """A name that DNS rebinding points at this machine gets nothing."""
    for path in ("/", "/v1/calls", "/static/console.css"):
        answer = http.get(path, headers={"host": host})
        assert answer.status_code in (400, 421)
        assert "trace_id" not in answer.text


@pytest.mark.parametrize("host", ["localhost:1234", "LOCALHOST", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_served(http: httpx.Client, host: str) -> None:
    """The loopback names work with any port."""
    assert http.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://127.0.0.1", "https://localhost:1"])
def test_posts_from_pages_of_other_sites_are_refused(http: httpx.Client, origin: str) -> None:
    """A form of another site cannot store anything."""
    assert http.post("/v1/calls", headers={"origin": origin}, json={}).status_code == 403


def test_every_answer_has_the_policy(http: httpx.Client) -> None:
    """Pages, REST, files and refusals carry the content-security policy, and pages obey it."""
    for path in ("/", "/v1/calls", "/static/console.js", "/nope", "/v1/nope", "/calls?page=0"):
        answer = http.get(path)
        for name, value in security.HEADERS.items():
            assert answer.headers[name] == value, (path, name)
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert not any(text in answer.text for text in (" style=", "javascript:", " onclick="))


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/console.css%00",
        "//etc/passwd",
        "/static/",
    ],
)
def test_no_other_file_is_served(url: str, path: str) -> None:
    """Paths that climb out of the folder are not found, sent raw as no client normalises them."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status in (400, 404)
    assert b"import" not in answer.read()
    connection.close()


def test_a_token_is_asked_for(folder: Path) -> None:
    """With a token set nothing is answered without it: bearer, or once in the address, which then loses it."""
    with served(folder, token="s3cret") as url:
        for path in ("/", "/v1/calls", "/health", "/live/calls"):
            assert httpx.get(url + path, timeout=60).status_code == 401
        for wrong in ("s3cre", "s3cret2", "s", "ü"):
            assert httpx.get(url + "/health", headers={"authorization": f"Bearer {wrong}".encode()}).status_code == 401
        assert httpx.get(url + "/health", headers={"authorization": "Bearer s3cret"}).status_code == 200
        with httpx.Client(base_url=url, timeout=60) as browser:
            first = browser.get("/calls?since=6h&token=s3cret")
            assert first.status_code == 303
            assert first.headers["location"] == "/calls?since=6h"
            assert "httponly" in first.headers["set-cookie"].lower()
            assert browser.get("/calls?since=6h").status_code == 200


def test_the_token_never_leads_elsewhere(folder: Path) -> None:
    """A path that a browser would take for another host is not redirected to."""
    with served(folder, token="s3cret") as url:
        answer = httpx.get(url + "//evil.test/?token=s3cret", timeout=60)
        assert not answer.headers.get("location", "/").startswith("//")


def test_only_get(http: httpx.Client) -> None:
    """Pages cannot be posted to."""
    for path in ("/", "/calls", "/v1/cost", "/v1/logs/x"):
        assert http.post(path).status_code in (404, 405)


def test_slow_clients_hold_up_nobody(url: str, http: httpx.Client) -> None:
    """Clients that send half a request, or read nothing of the answer, are waited for by nobody but themselves."""
    place = urlsplit(url)
    held = []
    before = http.get("/health").json()["spans"]
    try:
        for number in range(40):
            slow = socket.create_connection((place.hostname or "", place.port or 0), timeout=60)
            half = b"POST /v1/calls HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n{"
            slow.sendall(half if number % 2 else b"GET /calls?since=7d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            held.append(slow)
        for path in ("/", "/calls", "/v1/metrics", "/health"):
            assert http.get(path).status_code == 200
    finally:
        for slow in held:
            slow.close()
    assert http.get("/health").json()["spans"] == before
