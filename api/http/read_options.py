"""Query parameters that say how an uploaded file is read."""

from __future__ import annotations

from typing import Annotated

from litestar.params import QueryParameter

from python_core.files.options import Decimal, Policy, ReadOptions, Stamp, asker, read_options
from workers.errors import as_client_error


async def provide_read_options(
    policy: Annotated[
        Policy,
        QueryParameter(
            description="What to do about faulty rows. `reject`: reject the file. `drop`: skip invalid bars and exact duplicates. "
            "`repair`: sort the rows by time and skip exact duplicates."
        ),
    ] = "reject",
    header: Annotated[
        bool,
        QueryParameter(
            description="Whether the first line of a CSV file names the columns. Otherwise they must be time, open, high, low, close, volume, "
            "or those of `columns`."
        ),
    ] = True,
    columns: Annotated[
        str,
        QueryParameter(
            max_length=500,
            description="Titles of columns that are not found by themselves, as in `close=Adj Close,volume=Shares`; for a file without a header "
            "the names of the columns in order, as in `date,clock,open,high,low,close,-,volume`.",
        ),
    ] = "",
    timezone: Annotated[
        str,
        QueryParameter(max_length=60, description="Zone of times that say none, such as America/New_York or EST; default: UTC."),
    ] = "",
    stamp: Annotated[Stamp, QueryParameter(description="Whether the times are those at which bars open or end.")] = "open",
    decimal: Annotated[Decimal | None, QueryParameter(description="Decimal mark; default: detected.")] = None,
    day_first: Annotated[bool | None, QueryParameter(description="Whether 01/02/2024 is 1 February; default: detected.")] = None,
    earliest: Annotated[
        str,
        QueryParameter(
            max_length=40,
            description="Rows before this time are refused, as numbers that are misread as times mostly are of 1970: ISO 8601; default: 1980.",
        ),
    ] = "1980-01-01",
) -> ReadOptions:
    asker.set("http")
    with as_client_error():
        return read_options(
            policy=policy,
            header=header,
            columns=columns,
            timezone=timezone,
            stamp=stamp,
            decimal=decimal,
            day_first=day_first,
            earliest=earliest,
        )
