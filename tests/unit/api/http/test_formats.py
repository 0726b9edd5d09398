"""Which format an `Accept` header prefers."""

from __future__ import annotations

import pytest

from api.http.formats import negotiate
from api.http.problems import ProblemError


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/*", "csv"),
        ("text/csv", "csv"),
        ("TEXT/CSV; charset=utf-8; header=present", "csv"),
        ("text/csv, */*", "csv"),
        ("*/*, text/csv", "csv"),
        ("text/csv;q=0.5, */*", "json"),
        ("text/csv;q=0.5, application/json;q=0.4", "csv"),
        ("application/json, text/csv", "json"),
        ("application/json;q=0, */*;q=0.1", "csv"),
        ("application/vnd.apache.parquet", "parquet"),
        ("application/vnd.apache.arrow.stream;q=1, text/csv;q=0.9", "arrow"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", "json"),
        ("text/csv;q=wrong", "csv"),
    ],
)
def test_the_highest_weight_wins_then_the_most_exact_name(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "*/*;q=0", "application/vnd.apache.arrow.file", "text/csv;q=-1", "csv"]
)
def test_what_is_not_available_is_refused(accept: str) -> None:
    with pytest.raises(ProblemError, match="text/csv") as refused:
        negotiate(accept)
    assert (refused.value.status, refused.value.code) == (406, "not_acceptable")
