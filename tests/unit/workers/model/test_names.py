"""Names and ids."""

from __future__ import annotations

import time

import pytest

import workers
from workers.model.names import check_name, is_reference, new_id


@pytest.mark.parametrize("name", ["", " ", "a ", "tab\there", "x" * 121, "\ud800", "nul\0"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(workers.Invalid, match="printable"):
        check_name(name)


def test_names_may_use_any_script() -> None:
    for name in ("a", "Ethereum Ξ", "日本語", "x" * 120):
        check_name(name)
        assert is_reference(name)


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = []
    for _ in range(5):
        ids.append(new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert all(identifier[14] == "7" and identifier[19] in "89ab" for identifier in ids)
