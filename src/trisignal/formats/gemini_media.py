"""Images and videos of Google's models: Imagen and Veo, by ``predict`` and ``predictLongRunning``.

Fields: Vertex AI's Imagen and Veo API references, spelled as in REST or in the SDK. Images have a price each, videos
one for each second that is requested: of a video there is only the operation that will bring it.
"""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.formats import Format, View, count, listed, text, view
from trisignal.formats.gemini import get_field, model_name
from trisignal.formats.openai_media import MEDIA
from trisignal.formats.units import IMAGES, VIDEO_SECONDS, detailed

_FILMED = "video_generation"
_DURATION_S, _RESOLUTION = 8, "720p"
"""What a video has where the request says nothing (API reference)."""


def read_request(draft: Draft, body: View) -> None:
    """Model and number of results, given as the SDK's arguments or as the body that is sent."""
    draft.request_model = model_name(body.get("model")) or draft.request_model
    parameters = view(body.get("config") or body.get("parameters"))
    n = count(get_field(parameters, "number_of_images") or get_field(parameters, "sample_count"))
    if n is None and draft.operation == _FILMED:
        n = count(get_field(parameters, "number_of_videos"))
    if n is not None and n != 1:
        draft.fields[names.REQUEST_CHOICE_COUNT] = n
    if draft.operation == _FILMED:
        seconds = count(get_field(parameters, "duration_seconds")) or _DURATION_S
        resolution = text(get_field(parameters, "resolution")) or _RESOLUTION
        draft.tool_uses = {detailed(VIDEO_SECONDS, resolution): seconds * (n or 1)}


def read_images(draft: Draft, reply: View) -> None:
    """Images that came; what a filter held back is not billed."""
    images = listed(get_field(reply, "generated_images")) or listed(reply.get("predictions"))
    kept = [image for image in map(view, images) if not get_field(image, "rai_filtered_reason")]
    if kept:
        draft.tool_uses = {IMAGES: len(kept)}


def read_operation(draft: Draft, reply: View) -> None:
    """The operation that makes a video."""
    draft.pending = True


GENERATE_IMAGES: Format = MEDIA._replace(name="generate_images", read_request=read_request, read_response=read_images)
GENERATE_VIDEOS: Format = GENERATE_IMAGES._replace(name="generate_videos", read_response=read_operation)
