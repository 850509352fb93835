"""Alerts, budgets and health inside the process; loaded when first used."""
