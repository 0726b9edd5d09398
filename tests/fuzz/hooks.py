"""What Schemathesis can't know from the document: how expressions and files look, and which refusals of valid data are right."""

from __future__ import annotations

import os
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.openapi import format as register_format

import python_core as bt
from api.http.formats import MEDIA_TYPES
from tests.fuzz.service import KEY, KEY_ID, SMA_CROSS
from tests.support.files import csv, parquet

PATH = re.compile(r"\$([.\[].*)?|(query|path|header|cookie)\..*|file(, .+)?", re.DOTALL)

# The codes of requests that the document rules out.
BROKEN_FORM = ("invalid_request", "invalid_json", "invalid_form", "unknown_parameter", "repeated_parameter")

SERIES = st.sampled_from(["open", "high", "low", "close", "volume", "hl2", "hour"])
LENGTHS = st.integers(1, 50)
NUMBERS = st.one_of(
    SERIES,
    st.builds("{}({}, {})".format, st.sampled_from(["sma", "ema", "highest", "lowest", "rsi", "roc"]), SERIES, LENGTHS),
    st.builds("{}[{}]".format, SERIES, LENGTHS),
)
COMPARISONS = st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["<", ">", "<=", ">="]), NUMBERS)
CONDITIONS = st.one_of(
    COMPARISONS,
    st.builds("{}({}, {})".format, st.sampled_from(["crossover", "crossunder"]), NUMBERS, NUMBERS),
    st.builds("{} and not {}".format, COMPARISONS, COMPARISONS),
)
FILES = st.builds(
    lambda write, rows, seed: write(bt.synthetic(rows, seed=seed)), st.sampled_from([csv, parquet]), st.integers(2, 300), st.integers(0, 5)
)

register_format("expression", CONDITIONS)
register_format("binary", FILES)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Send the key, if there is one, and spare it from rotation and deletion."""
    if KEY not in os.environ:
        return
    case.headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    if case.path_parameters.get("key_id") == os.environ[KEY_ID]:
        case.path_parameters["key_id"] = "none"


# In the document they are in the text only, for the sake of TypeScript.
TABLES = {MEDIA_TYPES[name]: {} for name in ("csv", "parquet", "arrow")}


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """The formats of tables, and links with bodies of several parts, which openapi-generator refuses to read in the document."""
    own_strategy = {"strategy": SMA_CROSS}
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        "submit_backtest": ("Dataset", own_strategy | dict.fromkeys(("symbol", "timeframe", "exchange", "kind"))),
        "diagnose_strategy": ("Dataset", own_strategy),
        "plot_strategy": ("Dataset", own_strategy),
        "rerun_backtest": ("Run", {}),
        "redrive_dead_letters": ("DeadLetter", {"all": False}),
    }
    names = {"Dataset": "dataset", "Run": "backtest", "DeadLetter": "ids"}
    for path, operations in raw_schema["paths"].items():
        for operation in operations.values():
            if "406" in operation["responses"]:
                operation["responses"]["200"]["content"] |= TABLES
            for response in operation["responses"].values():
                schema = str(response.get("content", {}).get("application/json", {})).partition("schemas/")[2].partition("'")[0]
                place = "$response.body#/items/0/id" if schema.endswith("Page") else "$response.body#/id"
                for target, (resource, body) in bodies.items():
                    if "{" not in path and schema.removesuffix("Page") == resource:
                        identifier = [place] if resource == "DeadLetter" else place
                        link = {"operationId": target, "requestBody": body | {names[resource]: identifier}}
                        response.setdefault("links", {})[f"{target} with its own body"] = link


@schemathesis.check
def valid_data_is_refused_only_by_rules_that_no_schema_says(ctx: Any, response: Any, case: Any) -> None:
    """`positive_data_acceptance` for an API with a language: what is of the documented form has another error code."""
    if case.meta is not None and case.meta.generation.mode.is_positive and response.status_code == 400:
        assert response.json()["code"] not in BROKEN_FORM, response.text


@schemathesis.check
def errors_name_their_place(ctx: Any, response: Any, case: Any) -> None:
    if "problem+json" in response.headers.get("content-type", [""])[0]:
        for error in response.json().get("errors", ()):
            assert PATH.fullmatch(error["path"]), response.text
