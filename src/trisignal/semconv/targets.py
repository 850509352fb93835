"""Attributes that say where a request went, as clients and frameworks write them that make spans themselves."""

from __future__ import annotations

HTTP_TARGET = frozenset({"http.request.method", "http.route", "url.scheme", "url.path", "url.full"})
