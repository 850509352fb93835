"""How many examples a property test tries where its own number is above the usual one."""

from __future__ import annotations

from hypothesis import settings


def examples(many: int) -> int:
    """Return the number of examples: an eighth of them in a fast run."""
    return many // 8 if settings.get_current_profile_name() == "fast" else many
