"""The demo's recordings, with their licence beside them. Data, no code."""
