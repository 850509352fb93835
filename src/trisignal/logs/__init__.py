"""JSON lines for every record of the application, and for every call: formatter, filter, processors."""

from trisignal.logs.emf import EmfFormatter
from trisignal.logs.formatter import COMPLETE, ContextFilter, JsonFormatter, structlog_processor, structlog_redactor

__all__ = ["COMPLETE", "ContextFilter", "EmfFormatter", "JsonFormatter", "structlog_processor", "structlog_redactor"]
