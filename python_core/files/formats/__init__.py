"""Formats of files: CSV, JSON, and what they are packed in."""
