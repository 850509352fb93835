"""A WebSocket server on 127.0.0.1 that plays realtime sessions, in step with a client that plays the other side."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

LIMIT_S = 60.0
Event = dict[str, Any]


class Close(NamedTuple):
    """The server closes the connection."""

    code: int = 1000
    reason: str = ""


class Sent(NamedTuple):
    """The client sends something: the server waits for it."""

    event: Any = None


Play = Sequence["Event | Close | Sent"]
"""What happens on one connection, in order; a plain event is sent by the server."""


class RealtimeServer:
    """Plays one sequence per connection.

    Args:
        *plays: Sequences, in the order of the connections; the last one is played for all further connections.
    """

    def __init__(self, *plays: Play) -> None:
        self._plays = list(plays)
        self._lock = threading.Lock()
        self.received: list[Any] = []
        """What clients have sent, parsed."""
        self.paths: list[str] = []
        """Path and query of each connection."""
        self.failures: list[BaseException] = []
        self._server: Server = serve(self._handle, "127.0.0.1", 0, compression=None, max_size=None)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, as clients want it."""
        port = self._server.socket.getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        with self._lock:
            self.paths.append(connection.request.path)
            play = self._plays.pop(0) if len(self._plays) > 1 else self._plays[0]
        try:
            for step in play:
                if isinstance(step, Close):
                    connection.close(step.code, step.reason)
                    return
                if isinstance(step, Sent):
                    self.received.append(json.loads(connection.recv(timeout=LIMIT_S)))
                else:
                    connection.send(step if isinstance(step, (str, bytes)) else json.dumps(step))
            while True:  # until the client leaves
                self.received.append(json.loads(connection.recv(timeout=LIMIT_S)))
        except ConnectionClosed:
            return
        except BaseException as error:
            self.failures.append(error)
            raise

    def __enter__(self) -> RealtimeServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(LIMIT_S)


def recorded(events: Iterable[Event]) -> list[Event | Close | Sent]:
    """The sequence of a recorded session.

    Args:
        events: With ``dir`` and ``event``; what was left out of the recording is left out.
    """
    play: list[Event | Close | Sent] = []
    for entry in events:
        direction = entry.get("dir", "received" if "type" in entry else "")
        if direction == "sent":
            play.append(Sent(entry["event"]))
        elif direction == "received":
            play.append(entry.get("event", entry))
    return play


def play(connection: Any, sequence: Play) -> list[Any]:
    """Play the client's side of a sequence through a synchronous connection; what it has received."""
    events = []
    for step in sequence:
        if isinstance(step, Sent):
            connection.send(step.event)
        elif not isinstance(step, Close):
            events.append(connection.recv())
    return events


async def aplay(connection: Any, sequence: Play) -> list[Any]:
    """The same through an asynchronous one."""
    events = []
    for step in sequence:
        if isinstance(step, Sent):
            await connection.send(step.event)
        elif not isinstance(step, Close):
            events.append(await connection.recv())
    return events
