"""Metadata on its way out: strings, numbers and attributes, redacted and shortened."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from trisignal import _guard
from trisignal.call import AttributeValue
from trisignal.policy.masks import MASKED
from trisignal.policy.own_redactor import RedactionError
from trisignal.policy.redact import PatternRedactor, Redactor, harmless, masks_of
from trisignal.policy.truncate import shorten
from trisignal.providers import is_ip
from trisignal.semconv.digits import is_short, redact_number
from trisignal.semconv.values import number, scalar, text_of

REDACTION_FAILED = "[REDACTED:failure]"
"""Stands for metadata that could not be redacted; never remembered."""
FIELD_BYTES = 1024
"""Byte budget of one metadata string."""
_LONGEST = 16_384
_MARGIN = 4096
"""Characters dropped at the end of a longer text once it is redacted: it was cut, perhaps in the middle of a secret."""
_MOST_ITEMS = 128
"""Items kept of a list."""
_REMEMBERED = 16_384
_MOST_TARGETS = 256
"""URLs and parts of them that are remembered."""


class Cleaning:
    """Redacts metadata, and remembers what it redacted of strings that come again and again.

    Args:
        redactor: Applied to every text.
        on_failure: Called when a redactor failed, but for the user's own, which counts by itself.
    """

    def __init__(self, redactor: Redactor, on_failure: Callable[[], None]) -> None:
        self._redactor = redactor
        self._on_failure = on_failure
        self._remembered: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        self._warned = False
        self._masks = masks_of(redactor)
        self._secret: Callable[[object, object], str | None] = getattr(redactor, "secret_under", _no_secret)
        sure = type(redactor) is PatternRedactor and redactor.passes_harmless
        self._is_harmless: Callable[[str], bool] = harmless() if sure else _never
        """A cheap yes for texts that would come out of `clean` as they are."""

    def clean(self, value: Any) -> str:
        """Redact and shorten one metadata string, and make it encodable; a failing redactor blanks it.

        Args:
            value: Any text; of an enumeration its value, of any other object its ``str()``.
        """
        if type(value) is str and len(value) > _LONGEST:
            value = value[: _LONGEST + 1]  # what is cut anyway need not be looked at
        # The usual case is a clean text, for which a call would cost more than the look at it.
        text = value if type(value) is str and value.isascii() and value.isprintable() else text_of(value)
        cut = len(text) > _LONGEST
        try:
            done = self._redactor(text[:_LONGEST] if cut else text)
            if not isinstance(done, str):
                raise TypeError(f"a redactor returns a text, not {type(done).__name__}")
            if not (type(done) is str and done.isascii() and done.isprintable()):
                done = text_of(done)
        except Exception as error:
            self.failed("metadata", error)
            return REDACTION_FAILED
        if cut:
            done = done[:-_MARGIN]
        return done if len(done) < FIELD_BYTES // 4 else shorten(done, FIELD_BYTES)[0]

    def known(self, value: Any) -> str:
        """`clean` for strings of few different values (model names, dimensions), remembered unless it failed."""
        if type(value) is not str:
            # An enumeration that is a text, too, equals that text, and would be remembered in its place.
            value = text_of(value)
        done = self._remembered.get(value)
        if done is None:
            done = self.clean(value)
            if len(self._remembered) < _REMEMBERED and len(value) < 256 and done is not REDACTION_FAILED:
                self._remembered[value] = done
        return done

    def address(self, value: Any) -> str:
        """`known` for the address of a server; an IP address there names a machine, not a person, and stays."""
        if type(value) is not str:
            value = text_of(value)
        done = self._addresses.get(value)
        if done is None:
            done = value if is_ip(value) else self.known(value)
            if len(self._addresses) < _REMEMBERED and len(value) < 256 and done is not REDACTION_FAILED:
                self._addresses[value] = done
        return done

    def target(self, value: str) -> str:
        """`clean` for where a request goes, which is the same for most; in a memory of its own, as paths may hold ids.

        Args:
            value: A URL or a part of it, or the method.
        """
        done = self._targets.get(value)
        if done is None:
            done = self.clean(value)
            if len(self._targets) < _MOST_TARGETS and len(value) < 256 and done is not REDACTION_FAILED:
                self._targets[value] = done
        return done

    def number(self, value: Any, shortest: int | None = None) -> Any:
        """A number, or the redacted text of it where that text is private; a failing redactor blanks it.

        Args:
            value: A number, whatever its type.
            shortest: Digits of the shortest number that is looked at; by default the redactor's own.
        """
        try:
            done = redact_number(value, self._redactor, shortest)
        except Exception as error:
            self.failed("numbers", error)
            return scalar(value) if is_short(value) else REDACTION_FAILED
        return scalar(value) if type(done) is int else done

    def attribute(self, value: Any, shortest: int | None = None) -> AttributeValue | None:
        """A value as all signals have it: texts redacted, numbers finite and plain; None if there is none.

        Args:
            value: Anything.
            shortest: As for `number`.
        """
        kind = type(value)
        if kind is str:
            return self.clean(value)
        if kind is bool or (kind is int and -_FEW < value < _FEW and shortest is not None):
            return value  # type: ignore[no-any-return]  # narrowed by identity of the class
        if number(value) is not None:
            return self.number(value, shortest)  # type: ignore[no-any-return]  # a number or a text
        if issubclass(kind, (list, tuple)):
            return self._items(value)
        # A number without a finite value is in no signal, as JSON has none.
        return None if value is None or issubclass(kind, Number) else self.clean(value)

    def masked(self, name: str, value: object) -> str | None:
        """What stands for the value of an attribute that is hidden because of its name; None where it is not.

        Args:
            name: Name of the attribute.
            value: Its value.
        """
        if self._masks is not None and self._masks.matches(name):
            return MASKED
        return self._secret(name, value)

    def _items(self, values: Any) -> AttributeValue:
        try:
            items = list(values[:_MOST_ITEMS])
        except (RecursionError, MemoryError):
            raise
        except Exception:  # a class of the application's, or of a proxy's
            return self.clean(f"<unreadable {type(values).__name__}>")
        return tuple([self._item(item) for item in items])

    def _item(self, value: Any) -> str:
        return self.clean(value) if number(value) is None else text_of(self.number(value))

    def failed(self, site: str, error: Exception) -> None:
        """Count that something was dropped because it could not be redacted; the first time is logged.

        Args:
            site: What was dropped.
            error: What the redactor did.
        """
        if not isinstance(error, RedactionError) or not error.counted:
            self._on_failure()
        if not self._warned:
            self._warned = True
            how = str(error) if isinstance(error, RedactionError) else f"the redactor raised {type(error).__name__}"
            _guard.logger.warning("%s; %s is dropped; further failures are only counted", how, site)


_FEW = 1_000_000


def _never(text: str) -> bool:
    return False


def _no_secret(key: object, value: object) -> None:
    return None
