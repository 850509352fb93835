"""Where requests go is the same for most of them, and is redacted once."""

from __future__ import annotations

from trisignal.policy.cleaning import Cleaning


def test_the_target_of_requests_is_redacted_once() -> None:
    """A URL that comes again is not looked at again, and those with ids in them do not fill the memory."""
    looked_at: list[str] = []

    def redactor(text: str) -> str:
        looked_at.append(text)
        return text.replace("ann@x.org", "[email]")

    cleaning = Cleaning(redactor, lambda: None)
    for _ in range(3):
        assert cleaning.target("https://x.org/v1?user=ann@x.org") == "https://x.org/v1?user=[email]"
    assert len(looked_at) == 1
    for number in range(1000):
        cleaning.target(f"/v1/batches/{number}")
    assert len(cleaning._targets) <= 256
    assert cleaning.target("/v1/batches/999") == "/v1/batches/999"
