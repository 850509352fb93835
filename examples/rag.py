"""A question over documents in a vector store: one trace, from the question to the answer.

    python examples/rag.py calls
    trisignal console calls

The vector store (`qdrant-client`, in this process) and the model client (`openai`) are instrumented, so that the
program says nothing of telemetry but its first lines. Without a key the model is a stand-in on this machine; with
OPENAI_API_KEY it is OpenAI's. The argument is the folder of the trace store.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openai import OpenAI
from qdrant_client import QdrantClient, models

import trisignal

DOCUMENTS = (
    "Parcels to Portugal take three days.",
    "Lost parcels are searched for within a week, and paid for afterwards.",
    "Returns are free for thirty days.",
)
QUESTION = "When does my parcel arrive in Lisbon?"
EMBEDS, ANSWERS = "text-embedding-3-small", "gpt-4o-mini"


class StandIn(BaseHTTPRequestHandler):
    """Answers like OpenAI's API; texts with words in common have vectors that are near each other."""

    def do_POST(self) -> None:
        """Embeddings or a chat completion."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply: dict[str, Any] = {"model": asked["model"]}
        if self.path.endswith("/embeddings"):
            texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            vectors = [
                [float(word in text.lower()) for word in ("parcel", "portugal", "lisbon", "return")] for text in texts
            ]
            reply["data"] = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
            reply |= {"object": "list", "usage": {"prompt_tokens": 9 * len(texts), "total_tokens": 9 * len(texts)}}
        else:
            message = {"role": "assistant", "content": "In three days."}
            reply["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
            reply |= {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_790_000_000}
            reply["usage"] = {"prompt_tokens": 58, "completion_tokens": 4, "total_tokens": 62}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def vectors(client: OpenAI, texts: list[str]) -> list[list[float]]:
    """Embed texts."""
    # Vectors as numbers; the client's default is base64.
    found = client.embeddings.create(model=EMBEDS, input=texts, encoding_format="float")
    return [one.embedding for one in found.data]


def index(client: OpenAI, store: QdrantClient) -> None:
    """Write the documents into the vector store."""
    embedded = vectors(client, list(DOCUMENTS))
    store.create_collection(
        "documents", vectors_config=models.VectorParams(size=len(embedded[0]), distance=models.Distance.COSINE)
    )
    points = [
        models.PointStruct(id=at, vector=vector, payload={"text": text})
        for at, (text, vector) in enumerate(zip(DOCUMENTS, embedded, strict=True))
    ]
    store.upsert("documents", points)


@trisignal.workflow("answer a question")
def answer(client: OpenAI, store: QdrantClient, question: str) -> str:
    """Search, then ask the model with what was found."""
    hits = store.query_points("documents", query=vectors(client, [question])[0], limit=2).points
    found = "\n".join(str((hit.payload or {})["text"]) for hit in hits)
    messages: Any = [{"role": "system", "content": found}, {"role": "user", "content": question}]
    reply = client.chat.completions.create(model=ANSWERS, messages=messages)
    return reply.choices[0].message.content or ""


def main(folder: str) -> None:
    """Index the documents, and answer one question."""
    place: dict[str, str] = {}
    if not os.environ.get("OPENAI_API_KEY"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = {"api_key": "none", "base_url": f"http://127.0.0.1:{server.server_port}/v1"}
    with trisignal.setup(service_name="rag", store=folder):
        trisignal.instrument()
        client, store = OpenAI(**place), QdrantClient(":memory:")
        with trisignal.workflow("index"):
            index(client, store)
        with trisignal.context(request_id="question-1"):
            print(answer(client, store, QUESTION))
        total = trisignal.summary().total
        print(f"{total.calls} model calls, {total.input_tokens} tokens in, {total.output_tokens} out")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "calls")
