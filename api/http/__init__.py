"""Requests, responses and problems over HTTP."""
