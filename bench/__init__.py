"""What a recorded call costs, against the bare client, a hand-written floor and the official package."""
