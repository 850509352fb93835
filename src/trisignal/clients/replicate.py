"""Replicate: runs of models of any kind; they report tokens where the model has any, and the time that it took."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from trisignal import _guard
from trisignal.call import Draft, Usage
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, ClientExchange, Kwargs, exchanging
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import count, text, view

_DEFAULT_URL = "https://api.replicate.com"


def _ask(draft: Draft, given: Mapping[str, Any]) -> None:
    ref = given.get("ref")
    name = text(ref) or "/".join(filter(None, (text(getattr(ref, "owner", "")), text(getattr(ref, "name", "")))))
    draft.request_model = name.partition(":")[0]


def _prediction(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """A prediction, as the server reports it now; the last report of a run has its metrics."""
    found = wrapped(*args, **kwargs)
    try:
        run = exchanging(ClientExchange)
        if run is not None:
            _read(run[0], view(found))
    except Exception as error:
        _guard.contain("replicate.prediction", error)
    return found


def _read(draft: Draft, prediction: Any) -> None:
    draft.response_id = text(prediction.get("id")) or draft.response_id
    draft.response_model = text(prediction.get("model")) or draft.response_model
    metrics = view(prediction.get("metrics"))
    taken, given = count(metrics.get("input_token_count")), count(metrics.get("output_token_count"))
    if taken is not None or given is not None:
        draft.usage = Usage(taken, given)
    status = text(prediction.get("status"))
    if status == "canceled":
        draft.outcome = "cancelled"


def _url(client: Any) -> str:
    return text(getattr(client, "_base_url", "")) or _DEFAULT_URL


class Replicate(Methods):
    """The provider: runs, and the predictions that they are made of."""

    def patch(self, patches: Patches) -> None:
        """Patch both; the function of the package is a method of its default client."""
        super().patch(patches)
        for name in ("prediction", "model", "deployment"):
            patches.wrap(importlib.import_module(f"replicate.{name}"), "_json_to_prediction", _prediction)


_METHODS = tuple(SdkMethod("replicate.client:Client", name, "request", _ask) for name in ("run", "async_run"))


def provider() -> Replicate:
    """The reader of the ``replicate`` package."""
    return Replicate("replicate", _METHODS, _url)
