"""A real gRPC server of Triton's protocol in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

Answer = Callable[[Any, Any], Any]


def reply(request: Any, final: bool | None = None) -> Any:
    """The reply to a request; whether it is the last one is told only by models that may send several."""
    made = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="3", id=request.id)
    if final is not None:
        made.parameters["triton_final_response"].bool_param = final
    return made


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers as a function says; a context manager."""

    def __init__(self, answer: Answer = lambda request, context: reply(request)) -> None:
        self._answer = answer
        self.metadata: list[dict[str, str]] = []
        self.release = threading.Event()
        """Set by a test for answers that wait for it."""
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"127.0.0.1:{self.port}"

    def ModelInfer(self, request: Any, context: Any) -> Any:
        """One inference."""
        self.metadata.append(dict(context.invocation_metadata()))
        return self._answer(request, context)

    def ModelStreamInfer(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """A stream of them: the answer to each is a list of replies, or of texts of errors."""
        self.metadata.append(dict(context.invocation_metadata()))
        for request in requests:
            for made in self._answer(request, context):
                if isinstance(made, str):
                    yield service_pb2.ModelStreamInferResponse(error_message=made)
                else:
                    yield service_pb2.ModelStreamInferResponse(infer_response=made)

    def __enter__(self) -> Server:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release.set()
        self._server.stop(None).wait()
