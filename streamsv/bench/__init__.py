"""What it costs: measured and printed, never asserted."""
