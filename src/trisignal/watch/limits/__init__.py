"""Accounts that limits are kept in: in memory, in a file, in Redis."""
