"""Metrics: pure functions of small records, registered by name."""
