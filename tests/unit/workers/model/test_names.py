"""Names and ids."""

from __future__ import annotations

import time
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import workers
from workers.model.names import RESERVED, Name, check_label, check_name, check_owner, is_reference, new_id, to_name

SCHEMA = msgspec.json.schema(Name)


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "a ", " a", "tab\there", "x" * 121, "\ud800", "nul\0", "line\n", "a/b", ".", "..", ".hidden", "x@1", "a?b", "a#b", "a%2Fb", "a\\b", "(a)b(", "-a",
        "a:", "a\u200bb", "a\xa0b",
    ],
)  # fmt: skip
def test_a_name_that_could_not_be_addressed_is_refused(name: str) -> None:
    with pytest.raises(workers.Invalid, match="is not a valid name; use 1 to 120 letters, digits, spaces") as error:
        check_name(name)
    assert (error.value.code, error.value.where) == ("invalid_name", "name")


def test_a_name_does_not_look_like_an_id() -> None:
    for identifier in (new_id(), new_id().upper()):
        with pytest.raises(workers.Invalid, match="is not a valid dataset: it has the form of an id") as error:
            check_name(identifier, where="dataset")
        assert (error.value.code, error.value.where) == ("invalid_name", "dataset")
    check_name(f"{new_id()} too")


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_is_not_that_of_another_path(name: str) -> None:
    with pytest.raises(workers.Invalid, match=f"it is reserved; use another name, such as 'my {name}'"):
        check_name(name)
    for other in (name.upper(), f"{name}2", f"my {name}"):
        check_name(other)


def test_names_may_use_any_script() -> None:
    for name in ("a", "_", "Ethereum Ξ", "日本語", "x" * 120, "btcusdt-1h", "bars (2024).csv.gz", "BTC:USDT + funding", "1m"):
        check_name(name)
        assert is_reference(name)


# Of other characters, each kind of regular expressions has its own notion of letters.
@given(st.text(st.characters(max_codepoint=127), max_size=130) | st.sampled_from(RESERVED) | st.uuids().map(str))
@example("a\n")
def test_the_schema_says_which_names_are_valid(name: str) -> None:
    try:
        check_name(name)
        valid = True
    except workers.Invalid:
        valid = False
    assert jsonschema_rs.is_valid(SCHEMA, name) == valid


@given(st.text() | st.text("  ._+():-/@%aZ9é日\n", max_size=200) | st.sampled_from(RESERVED) | st.uuids().map(str))
def test_any_text_can_be_made_a_name(text: str) -> None:
    name = to_name(text)
    check_name(name)
    assert to_name(name) == name


symbols = st.text(st.characters().filter(str.isprintable), min_size=1, max_size=60).map(str.strip).filter(len)


@given(symbols, st.sampled_from(["spot", "linear", "inverse"]))
def test_the_default_name_of_a_fetched_dataset_is_valid(symbol: str, kind: Any) -> None:
    check_name(workers.FetchRequest(exchange="bybit", symbol=symbol, timeframe="1m", kind=kind).name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("btcusdt-1m.csv.gz", "btcusdt-1m.csv.gz"),
        ("BTC_USDT-1m (1).csv", "BTC_USDT-1m (1).csv"),
        ("EUR/USD, [2024] & more.csv", "EUR-USD- -2024- - more.csv"),
        (".hidden", "hidden"),
        ("plot", "unnamed plot"),
        ("...", "unnamed"),
    ],
)
def test_a_file_name_stays_as_it_is_where_it_can(text: str, name: str) -> None:
    assert to_name(text) == name


def test_owners_and_labels_are_printable() -> None:
    for text in ("anna@example.com", "team/desk 7", "€"):
        check_owner(text)
        check_label(text, where="name")
    check_owner("")
    for text in ("", " ", "a ", "tab\there", "x" * 121, "\ud800", "nul\0"):
        with pytest.raises(workers.Invalid, match="printable"):
            check_label(text, where="name")


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = []
    for _ in range(5):
        ids.append(new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert all(identifier[14] == "7" and identifier[19] in "89ab" for identifier in ids)
