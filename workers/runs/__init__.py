"""Runs: accepted, stored, sent to the queue and followed."""
