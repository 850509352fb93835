"""Responses that a provider makes in the background: their tokens count once, by whatever call brings them first."""

from __future__ import annotations

from collections import OrderedDict

from trisignal.call import Draft

_MOST = 4096


class BackgroundResponses:
    """Which background responses this process has created, and which of them were counted."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str | None] = OrderedDict()
        """Requested model by the id of a response whose tokens are to come; None once they were counted."""

    def created(self, draft: Draft) -> None:
        """Note a response, if it is made in the background.

        Args:
            draft: The call that created it, with the facts of the reply.
        """
        # A stream of the foreground is pending, too, where it is left early.
        background = draft.background or (draft.pending and draft.chunk_times is None)
        if draft.response_id and background:
            self._note(draft.response_id, draft.request_model if draft.usage is None else None)

    def fetched(self, draft: Draft) -> None:
        """Leave the tokens of a response on the call that fetched it only where they count.

        One that this process did not create may be counted elsewhere: its tokens are unknown here. A response that was
        no background one has been counted by the call that created it.

        Args:
            draft: The call that fetched it, with the facts of the reply.
        """
        id_ = draft.response_id
        arrived = draft.usage is not None
        model = self._known.get(id_)
        if not arrived or model is None:
            draft.usage = draft.bill = draft.server_tools = draft.tool_uses = None
        unknown = draft.background and id_ not in self._known
        if arrived and (model is not None or unknown):
            draft.background_id = id_
            draft.request_model = draft.response_model if model is None else model
            self._note(id_, None)

    def _note(self, id_: str, model: str | None) -> None:
        self._known[id_] = model
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
