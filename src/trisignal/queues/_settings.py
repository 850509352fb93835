"""What `instrument_queues` was asked for: one value of the process, as queues have hooks of the process."""

from __future__ import annotations

carry_user_ids = False
"""User ids travel with tasks."""
