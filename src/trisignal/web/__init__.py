"""Middleware and pages for web applications."""
