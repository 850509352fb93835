"""What starts and stops everything: setup(), providers, zero-code start, push."""
