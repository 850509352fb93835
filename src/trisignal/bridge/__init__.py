"""Finished spans of other instrumentations become calls."""
