"""Strategies as data: parameters, filters, a builder and a library."""
