"""The OpenAPI document of the REST interface, made from the table of its endpoints."""

from __future__ import annotations

from typing import Any

from trisignal.console import rest

VERSION = "3.1.0"


def document() -> dict[str, Any]:
    """The document, as JSON values."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for endpoint in rest.ENDPOINTS:
        paths.setdefault(endpoint.path, {})["get"] = _operation(endpoint, schemas)
    return {
        "openapi": VERSION,
        "info": {
            "title": "trisignal",
            "version": "1",
            "description": "Questions to what trisignal recorded. Times are UTC, money is US dollars, time is seconds.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(endpoint: rest.Route, schemas: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "query", "description": text, "schema": schema, "required": False}
        for name, text, schema in endpoint.parameters
    ]
    if "{trace_id}" in endpoint.path:
        schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
        parameters.append(
            {
                "name": "trace_id",
                "in": "path",
                "description": "32 hexadecimal digits.",
                "schema": schema,
                "required": True,
            }
        )
    if endpoint.type is str:
        content: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": _schema(endpoint.type, schemas)}}
    refusals = {
        "400": "A parameter is wrong; the text names it and what is allowed",
        "401": "A token is needed",
        "404": "Nothing of that id is known",
        "503": "The source does not answer",
    }
    problem = {"application/json": {"schema": _schema(rest.Problem, schemas)}}
    responses = {status: {"description": text, "content": problem} for status, text in refusals.items()}
    if endpoint.path == "/health":
        responses["503"]["content"] = content
    return {
        "summary": endpoint.summary,
        "operationId": endpoint.path.strip("/").replace("/", "_").replace("{", "").replace("}", ""),
        "parameters": parameters,
        "responses": {"200": {"description": endpoint.summary, "content": content}, **responses},
    }


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    made = rest.adapter(kind).json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    schemas.update(made.pop("$defs", {}))
    if "$ref" in made:
        return {"$ref": made["$ref"]}
    schemas[kind.__name__] = made
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
