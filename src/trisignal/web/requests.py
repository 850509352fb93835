"""Requests of ours: they go where they were sent, and nowhere else."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.request import Request


def send(request: Request, timeout_s: float) -> Any:
    """Send a request and follow no redirection: a POST would become a GET, and headers would reach another host.

    Args:
        request: What to send.
        timeout_s: Longest wait for the connection and for each read, in seconds.

    Returns:
        The response, to be closed by the caller.

    Raises:
        urllib.error.HTTPError: The status is not a success, a redirection included.
        OSError: There was no answer.
    """
    # Loads much that a process without such requests can spare.
    from urllib.request import HTTPRedirectHandler, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(
            self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
        ) -> Request | None:
            return None

    return build_opener(Stay).open(request, timeout=timeout_s)
