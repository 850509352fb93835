"""Questions about recorded traces: the analyser, its answers, and the protocol of its sources."""
