"""Opens and closes calls; the only global state of the hot path."""
