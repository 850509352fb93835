"""The trace store: what was recorded, in SQLite files of one folder, written off the caller's path."""
