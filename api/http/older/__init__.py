"""Requests and answers in the form of older clients, mapped to ours here and nowhere else (docs/older-clients.md)."""
