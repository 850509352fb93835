"""Task queues: context over their own headers, waits, retries and dead letters, without code in tasks."""
