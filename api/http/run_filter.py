"""Which backtests a list has: query parameters that become a filter."""

from __future__ import annotations

from typing import Annotated, Final

from litestar.di import NamedDependency
from litestar.params import QueryParameter

from workers import Invalid, RunFilter, RunState, Service
from workers.model.clock import LAST_MS
from workers.model.labels import MAX_NAME, TAG_PATTERN
from workers.model.run_filter import MAX_CONDITIONS, METRIC_PATTERN

# A URL has no room for more.
MAX_IDS: Final = 500
# Parameters that may be repeated, by their fields of the filter.
_REPEATED: Final = {"ids": "id", "tags": "tag", "metrics": "metric"}

# Litestar leaves a limit of 0 out of the document.
_NOT_NEGATIVE: Final = {"minimum": 0}
_Id = Annotated[str, QueryParameter(max_length=MAX_NAME)]
# The patterns are only documented here: the filter says what is wrong.
_Tag = Annotated[str, QueryParameter(schema_extra={"pattern": TAG_PATTERN})]
_Condition = Annotated[str, QueryParameter(schema_extra={"pattern": METRIC_PATTERN})]


def provide_run_filter(
    # Unused, as in `provide_run_options`.
    service: NamedDependency[Service],
    ids: Annotated[
        list[_Id] | None,
        QueryParameter(name="id", max_items=MAX_IDS, description="Only the backtests with this id; may be repeated, for several."),
    ] = None,
    owner: Annotated[str | None, QueryParameter(max_length=MAX_NAME, description="Only backtests of this owner.")] = None,
    dataset: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            max_length=MAX_NAME,
            description="Only backtests on this dataset, by id or name, or on one version: `btcusdt-1h@3`.",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        QueryParameter(min_length=1, max_length=MAX_NAME, description="Only backtests of this stored strategy, by id or name."),
    ] = None,
    symbol: Annotated[
        str | None,
        QueryParameter(
            min_length=1, max_length=MAX_NAME, description="Only backtests on a dataset with this symbol; case and separators are ignored."
        ),
    ] = None,
    run_state: Annotated[RunState | None, QueryParameter(name="state", description="Only backtests in this state.")] = None,
    tags: Annotated[
        list[_Tag] | None,
        QueryParameter(
            name="tag", max_items=MAX_CONDITIONS, description="Only backtests with this tag; may be repeated, for those with all of them."
        ),
    ] = None,
    name: Annotated[str | None, QueryParameter(min_length=1, max_length=MAX_NAME, description="Only backtests with this name.")] = None,
    name_contains: Annotated[
        str | None,
        QueryParameter(min_length=1, max_length=MAX_NAME, description="Only backtests whose name contains this text; case is ignored."),
    ] = None,
    created_since: Annotated[
        int | None,
        QueryParameter(
            ge=0,
            le=LAST_MS,
            schema_extra=_NOT_NEGATIVE,
            description="Only backtests created at or after this time, UTC epoch milliseconds.",
        ),
    ] = None,
    created_before: Annotated[
        int | None,
        QueryParameter(
            ge=0, le=LAST_MS, schema_extra=_NOT_NEGATIVE, description="Only backtests created before this time, UTC epoch milliseconds."
        ),
    ] = None,
    metrics: Annotated[
        list[_Condition] | None,
        QueryParameter(
            name="metric",
            max_items=MAX_CONDITIONS,
            description="Only backtests whose metric meets this condition: a metric, >=, <=, >, < or =, and a number, as in `sharpe>=1`. May be "
            "repeated, for those that meet all of them. No condition is met where the metric is null.",
        ),
    ] = None,
) -> RunFilter:
    try:
        return RunFilter(
            ids=None if ids is None else tuple(ids),
            owner=owner,
            dataset=dataset,
            strategy=strategy,
            symbol=symbol,
            state=run_state,
            tags=None if tags is None else tuple(tags),
            name=name,
            name_contains=name_contains,
            created_since=created_since,
            created_before=created_before,
            metrics=None if metrics is None else tuple(metrics),
        )
    except ValueError as error:
        field, _, text = str(error).partition(": ")
        message, _, hint = text.partition("; ")
        raise Invalid(message, where=f"query.{_REPEATED.get(field, field)}", hint=hint) from None
