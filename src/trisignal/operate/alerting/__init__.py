"""Alerts by what they are about, and what the plan says of each."""
