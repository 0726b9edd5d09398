"""The strategy language: from text to a plan of operations."""
