"""Tokens and money of one call: what the provider counted, what it charged, what the price table says."""

from __future__ import annotations

from typing import Literal, NamedTuple

CostBucket = Literal["input", "cache_read", "cache_write", "output", "reasoning", "tools", "other"]
CostSource = Literal["provider", "table", "user"]
"""Who says what a call costs: the provider's reply, a price table, or the user's own prices."""
UnpricedReason = Literal["model", "modality", "tier", "unit"]
"""Why a call has no cost: no price for the model, for tokens of one modality, for the service
tier, or for a unit other than tokens (seconds, images, uses of a server tool)."""


class Usage(NamedTuple):
    """Token counts of one call as the provider reported them, normalised to inclusive totals.

    ``None`` means "not reported"; 0 means "reported: none". Totals include their parts: ``input``
    holds cache reads, cache writes and every modality; ``output`` holds reasoning. What no
    modality claims is text.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    """All cache writes, whatever their lifetime."""
    cache_write_1h: int | None = None
    """The part of ``cache_write`` kept for one hour, where reported."""
    reasoning: int | None = None
    input_audio: int | None = None
    input_image: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    cache_read_audio: int | None = None
    """The part of ``cache_read`` that is audio (a part of ``input_audio`` too)."""
    input_video: int | None = None
    output_video: int | None = None
    cache_read_image: int | None = None
    cache_read_video: int | None = None
    audio_s: float | None = None
    """Seconds of audio, where the provider bills those instead of tokens."""

    @property
    def total(self) -> int:
        """Input plus output tokens; an unreported side counts as none."""
        return (self.input or 0) + (self.output or 0)


class TokenBuckets(NamedTuple):
    """Disjoint token counts: they sum to `Usage.input` plus `Usage.output` exactly."""

    input: int = 0
    """Uncached text input."""
    input_audio: int = 0
    cache_read: int = 0
    """Cached text input."""
    cache_read_audio: int = 0
    cache_write: int = 0
    """Cache writes of the default (5 minute) lifetime."""
    cache_write_1h: int = 0
    output: int = 0
    """Visible text output."""
    output_audio: int = 0
    reasoning: int = 0
    input_image: int = 0
    input_video: int = 0
    cache_read_image: int = 0
    cache_read_video: int = 0
    output_image: int = 0
    output_video: int = 0


TOKEN_BUCKETS = TokenBuckets._fields


def buckets(usage: Usage) -> TokenBuckets:
    """Split inclusive totals into disjoint buckets.

    Parts that a provider reports inconsistently (more cached than input tokens, say) are
    cut so that the sums of the buckets always equal the totals. Tokens of a modality that do not
    fit into the uncached input are counted as cached tokens of that modality, so that none of
    them is ever counted as text.

    Args:
        usage: Inclusive totals and their parts.

    Returns:
        Buckets with ``input* + cache_* == usage.input`` and ``output* + reasoning == usage.output``.
    """
    total_in, total_out = usage.input or 0, usage.output or 0
    read, write, thought = usage.cache_read or 0, usage.cache_write or 0, usage.reasoning or 0
    if read > total_in:
        read = total_in
    fresh = total_in - read
    if write > fresh:
        write = fresh
    fresh -= write
    write_1h = min(usage.cache_write_1h or 0, write) if write else 0
    if thought > total_out:
        thought = total_out
    visible = total_out - thought
    if not any(usage[_FIRST_PART:]):
        # The constructor of a named tuple is a Python function; this is the same without it.
        counts = (fresh, 0, read, 0, write - write_1h, write_1h, visible, 0, thought, 0, 0, 0, 0, 0, 0)
        return tuple.__new__(TokenBuckets, counts)
    sent, cached = _inputs(usage, fresh, read)
    audio = min(usage.output_audio or 0, visible)
    image = min(usage.output_image or 0, visible - audio)
    video = min(usage.output_video or 0, visible - audio - image)
    return TokenBuckets(
        sent[0],
        sent[1],
        cached[0],
        cached[1],
        write - write_1h,
        write_1h,
        visible - audio - image - video,
        audio,
        thought,
        sent[2],
        sent[3],
        cached[2],
        cached[3],
        image,
        video,
    )


_FIRST_PART = Usage._fields.index("input_audio")
_LEAST_USD = 1e-12
"""List prices below are too small to split a bill by."""
_Split = tuple[int, int, int, int]
"""Tokens of text, audio, image and video."""


def _inputs(usage: Usage, fresh: int, read: int) -> tuple[_Split, _Split]:
    """Uncached and cached input by modality."""
    left, cached_left = fresh, read
    sent: list[int] = []
    cached: list[int] = []
    for tokens, cached_tokens in (
        (usage.input_audio or 0, usage.cache_read_audio),
        (usage.input_image or 0, usage.cache_read_image),
        (usage.input_video or 0, usage.cache_read_video),
    ):
        hit = min(cached_tokens or 0, tokens, cached_left)
        uncached = min(tokens - hit, left)
        if cached_tokens is None:
            hit += min(tokens - hit - uncached, cached_left - hit)
        sent.append(uncached)
        cached.append(hit)
        left -= uncached
        cached_left -= hit
    return (left, *sent), (cached_left, *cached)  # type: ignore[return-value]  # three modalities and the rest


class Cost(NamedTuple):
    """Price of one call in US dollars."""

    input_usd: float
    """Everything billed for the prompt: uncached, cache reads and writes, every modality."""
    output_usd: float
    """Everything billed for the reply, reasoning included."""
    total_usd: float
    """Input plus output plus server tools plus anything billed per request."""
    by_bucket: tuple[tuple[CostBucket, float], ...]
    """Disjoint parts that sum to ``total_usd``; only buckets with a cost."""
    source: CostSource = "table"
    cache_savings_usd: float = 0.0
    """What cache reads would have cost more as uncached input."""


class Bill(NamedTuple):
    """What a provider reported to have charged for one call, in US dollars."""

    total_usd: float
    input_usd: float | None = None
    output_usd: float | None = None
    tools_usd: float | None = None
    """Searches and other server tools."""
    source: CostSource = "provider"
    final: bool = False
    """Stated by the gateway that charges it: what the reply repeats of its own provider does not replace it."""

    def cost(self, listed: Cost | None) -> Cost:
        """The bill as a cost.

        A bill without parts is split as the price table splits the call; without either it
        stands in the bucket ``other``.

        Args:
            listed: What the price table says, if anything.
        """
        total = self.total_usd
        sent, replied, tools = self.input_usd, self.output_usd, self.tools_usd or 0.0
        savings = 0.0 if listed is None else listed.cache_savings_usd
        if sent is None and replied is None and listed is not None and listed.total_usd > _LEAST_USD:
            share = total / listed.total_usd
            parts: tuple[tuple[CostBucket, float], ...] = tuple(
                [(bucket, amount * share) for bucket, amount in listed.by_bucket]
            )
            return Cost(listed.input_usd * share, listed.output_usd * share, total, parts, self.source, savings)
        named: dict[CostBucket, float] = {"input": sent or 0.0, "output": replied or 0.0, "tools": tools}
        over = sum(named.values()) - total
        if over > 0:
            # Parts are rounded apart from their total; what was charged is the total.
            named = {bucket: amount * total / (total + over) for bucket, amount in named.items()}
        elif over < 0:
            named["other"] = -over
        return Cost(
            named["input"],
            named["output"],
            total,
            tuple([(bucket, amount) for bucket, amount in named.items() if amount > 0]),
            self.source,
            savings,
        )
