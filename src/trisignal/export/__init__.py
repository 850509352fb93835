"""Exporters: providers that setup() builds, the redaction gate, losses, the log file."""
