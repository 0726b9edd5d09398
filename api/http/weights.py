"""What a client accepts, as the headers `Accept` and `Accept-Encoding` say it (RFC 9110, section 12.4.2)."""

from __future__ import annotations

import contextlib


def weights(header: str) -> dict[str, float]:
    """The weight of each choice in a header, from 0 to 1. Choices are in lower case; without a weight, or with an invalid one, they have 1."""
    return dict(_weighted(part) for part in header.split(",") if part.strip())


def _weighted(text: str) -> tuple[str, float]:
    choice, *parameters = text.split(";")
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            with contextlib.suppress(ValueError):
                weight = min(max(float(value), 0.0), 1.0)
    return choice.strip().lower(), weight
