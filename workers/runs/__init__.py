"""Runs: accept, store, send to the queue, and stream their events."""
