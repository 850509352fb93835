"""Frameworks that make no model calls of their own."""
