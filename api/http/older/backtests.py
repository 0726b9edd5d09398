"""Backtests as older clients ask for them: their names are aliases of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, Any, Final, cast

import msgspec
from litestar import Request
from msgspec import UNSET, Meta, UnsetType

import python_core as bt
from api.http.older.config import LEVELS, changes_strategy, check_config, configure, levels, place_of_filter
from api.http.older.filters import OlderFilter, parse_timeframe
from api.http.problems import FieldError, invalid_fields
from python_core.data import timeframes
from python_core.data.epoch import to_epoch_ms
from python_core.engine.compiled import Engine
from python_core.errors import BarstormError
from python_core.strategy.filters import MAX_FILTERS, MAX_TIMEFRAMES
from workers import BacktestRequest, CreateAndRunRequest, NotFound, Priority, Run, RunOptions, Service, WorkersError
from workers.model.labels import LabelChanges, Notes, RunName, Tags
from workers.model.names import Name
from workers.model.selection import Reference, Selection

_Date = Annotated[str, Meta(max_length=40)]
_DEFAULTS: Final = bt.Execution()
_ACCOUNT: Final = ("initial_capital", "leverage", "commission")
# What determines the same, in both vocabularies.
_ALIASES: Final = {"strategy_id": "strategy", "start_date": "start", "end_date": "end"}


class OlderBacktestRequest(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backtest in the words of older clients, which may be mixed with those of `BacktestRequest` if they don't say the same thing twice."""

    strategy: Annotated[bt.Strategy | Reference | None, Meta(description="A strategy, or the id or name of a stored strategy.")] = None
    execution: bt.Execution | None = None
    engine: Engine = "auto"
    strategy_id: Annotated[Reference | None, Meta(description="Id or name of a stored strategy, as `strategy`.")] = None
    timeframe: Annotated[
        Annotated[str, Meta(max_length=20)] | int | None,
        Meta(
            description="Timeframe of the dataset: a name such as 1h, a number of minutes (60, `60m`), or a code of exchanges (1H, D, W, M)."
        ),
    ] = None  # type: ignore[assignment]  # text, once it is checked
    start_date: Annotated[_Date | None, Meta(description="As `start`, in ISO 8601; UTC unless it has an offset.")] = None
    end_date: Annotated[
        _Date | None, Meta(description="As `end`, in ISO 8601; UTC unless it has an offset. A date without a time includes that day.")
    ] = None
    initial_capital: Annotated[Annotated[float, Meta(gt=0)] | None, Meta(description="As in `execution`.")] = None
    leverage: Annotated[Annotated[float, Meta(ge=1, le=1000)] | None, Meta(description="As in `execution`.")] = None
    commission: Annotated[Annotated[float, Meta(ge=0, lt=1)] | None, Meta(description="As in `execution`, a fraction.")] = None
    config: Annotated[
        dict[str, Any],
        Meta(
            max_length=200,
            description="`stop_loss_pct` and `take_profit_pct` (2 is 2 %), `direction` (both, long, short), and values for params of the "
            "strategy, by name.",
        ),
    ] = msgspec.field(default_factory=dict)
    additional_timeframes: Annotated[
        tuple[str | int, ...],
        Meta(
            max_length=MAX_TIMEFRAMES,
            description="Checked to be timeframes that bars of the dataset can be resampled to; the strategy itself says which it uses.",
        ),
    ] = ()
    htf_filters: Annotated[
        tuple[OlderFilter, ...],
        Meta(max_length=MAX_FILTERS, description="Conditions on higher timeframes for all entries of the strategy."),
    ] = ()
    priority: Annotated[
        Annotated[int, Meta(ge=1, le=20)] | None,
        Meta(description="10 and more is high, under 5 low, otherwise normal; not together with the query parameter."),
    ] = None
    name: RunName | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    notes: Notes | UnsetType = UNSET

    def __post_init__(self) -> None:
        for older, today in _ALIASES.items():
            if getattr(self, older) is not None and getattr(self, today) is not None:
                raise ValueError(f"{older}: the request has {today}, too, which says the same; leave out one of them")
        self._set(
            additional_timeframes=tuple(
                parse_timeframe(each, f"additional_timeframes[{i}]") for i, each in enumerate(self.additional_timeframes)
            )
        )
        if self.timeframe is not None:
            self._set(timeframe=parse_timeframe(self.timeframe, "timeframe"))
        self._set_range()
        self._set_execution()
        super().__post_init__()
        self._check_strategy()
        _ = self.labels  # raises what is wrong with them

    @property
    def labels(self) -> LabelChanges:
        """The labels of the run."""
        return LabelChanges(name=self.name, tags=self.tags, notes=self.notes)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            msgspec.structs.force_setattr(self, name, value)

    def _set_range(self) -> None:
        if self.start_date is not None:
            self._set(start=_epoch_ms("start_date", self.start_date))
        if self.end_date is not None:
            self._set(end=_epoch_ms("end_date", self.end_date, end=True))
        if (self.start_date or self.end_date) and self.start is not None and self.end is not None and self.start >= self.end:
            name, end, start = "end_date" if self.end_date else "end", self.end_date or self.end, self.start_date or self.start
            raise ValueError(f"{name}: {end} is not after the start, {start}; the end is excluded, unless it is a date without a time")

    def _set_execution(self) -> None:
        check_config(self.config)
        given: dict[str, Any] = {name: getattr(self, name) for name in _ACCOUNT if getattr(self, name) is not None} | levels(self.config)
        sent = {level: f"config.{name}" for name, level in LEVELS.items()} | {name: name for name in _ACCOUNT}
        execution = self.execution or _DEFAULTS
        for name, value in given.items():
            if getattr(execution, name) not in (value, getattr(_DEFAULTS, name)):
                raise ValueError(f"{sent[name]}: execution.{name} says something else; leave out one of them")
        try:
            self._set(execution=msgspec.structs.replace(execution, **given))
        except BarstormError as error:
            # Each is valid alone, and so is the execution: only a leverage can leave too little room for the maintenance margin.
            hint = f"; {error.hint}" if error.hint else ""
            raise ValueError(f"{sent.get(error.where, 'leverage')}: {error.message}{hint}") from None

    def _check_strategy(self) -> None:
        if self.strategy_id is None and self.strategy is None:
            raise ValueError("strategy_id: missing; give strategy_id, or strategy")
        if self.strategy_id is not None:
            self._set(strategy=self.strategy_id)

    async def submit(self, service: Service, options: RunOptions) -> Run:
        """Submit the backtest.

        Raises:
            ProblemError: its config, filters or timeframes don't fit the strategy or the dataset.
        """
        request = await self._to_request(service)
        with self._naming_filters_as_sent(request.strategy):
            return await service.backtests.submit(request, options)

    async def _to_request(self, service: Service) -> BacktestRequest:
        """The same backtest in today's words. With settings or filters the strategy is the changed one, otherwise the stored one."""
        strategy = cast(bt.Strategy | str, self.strategy)
        if changes_strategy(self.config) or self.htf_filters:
            stored = (await service.strategies.get(strategy)).strategy if isinstance(strategy, str) else strategy
            strategy = configure(stored, self.config, self.htf_filters)
        if self.additional_timeframes:
            await self._check_additional(service)
        execution = cast(bt.Execution, self.execution)
        return BacktestRequest(**self.selection(), strategy=strategy, execution=execution, engine=self.engine, **self.labels.given())

    async def _check_additional(self, service: Service) -> None:
        fine = str(self.timeframe) if self.dataset is None else (await service.datasets.get(self.dataset)).timeframe
        for i, coarse in enumerate(map(str, self.additional_timeframes)):
            if not timeframes.fits(timeframes.milliseconds(fine), timeframes.milliseconds(coarse)):
                message, hint = timeframes.misfit(fine, coarse)
                raise invalid_fields(FieldError(path=f"$.additional_timeframes[{i}]", message=message, hint=hint))

    @contextmanager
    def _naming_filters_as_sent(self, strategy: bt.Strategy | str) -> Iterator[None]:
        try:
            yield
        except WorkersError as error:
            if not isinstance(strategy, str):
                error.where = place_of_filter(error.where, strategy.htf_filters, len(self.htf_filters)) or error.where
            raise

    def add_priority(self, request: Request[Any, Any, Any], options: RunOptions) -> RunOptions:
        """The options with the priority of the body.

        Raises:
            ProblemError: the query has one, too.
        """
        if self.priority is None:
            return options
        if "priority" in request.query_params:
            raise invalid_fields(FieldError(path="$.priority", message="the query has a priority, too", hint="leave out one of them"))
        priority = Priority.HIGH if self.priority >= 10 else Priority.LOW if self.priority < 5 else Priority.NORMAL
        return msgspec.structs.replace(options, priority=priority)

    @contextmanager
    def naming_as_sent(self) -> Iterator[None]:
        """Let errors of the service name fields as the client did."""
        try:
            yield
        except WorkersError as error:
            sent = {today: older for older, today in _ALIASES.items() if getattr(self, older) is not None}
            error.where = sent.get(error.where, error.where)
            raise


class OlderCreateAndRunRequest(OlderBacktestRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backtest in the words of older clients: of a stored strategy or, with a name, of one that is stored with it."""

    name: Annotated[Name | None, Meta(description="Name to store `strategy` under.")] = None  # type: ignore[assignment]  # not of the run
    run_name: RunName | UnsetType = UNSET

    @property
    def labels(self) -> LabelChanges:
        return LabelChanges(name=self.run_name, tags=self.tags, notes=self.notes)

    def _check_strategy(self) -> None:
        super()._check_strategy()
        if isinstance(self.strategy, str) and self.name is not None:
            raise ValueError("name: strategy_id names a stored strategy, so none is created; leave out one of them")
        if not isinstance(self.strategy, str) and self.name is None:
            raise ValueError("name: missing; give the strategy a name, or use strategy_id")

    async def submit(self, service: Service, options: RunOptions) -> Run:
        if self.name is None:
            return await super().submit(service, options)
        request = await self._to_request(service)
        strategy = cast(bt.Strategy, request.strategy)
        create = CreateAndRunRequest(
            **request.selection(),
            name=self.name,
            strategy=strategy,
            execution=request.execution,
            engine=request.engine,
            run_name=self.run_name,
            tags=self.tags,
            notes=self.notes,
        )
        with self._naming_filters_as_sent(strategy):
            return await service.backtests.create_and_run(create, options)


class OlderRerunRequest(OlderBacktestRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backtest to run again, or one to run for the first time, in the words of older clients."""

    backtest: Annotated[Reference | None, Meta(description="Id of a backtest.")] = None
    backtest_id: Annotated[Reference | None, Meta(description="Id of a backtest, as `backtest`.")] = None

    def __post_init__(self) -> None:
        if self.backtest is None and self.backtest_id is None:
            super().__post_init__()
            return
        if self.backtest is not None and self.backtest_id is not None:
            raise ValueError("backtest_id: the request has backtest, too, which says the same; leave out one of them")
        for name in OlderBacktestRequest.__struct_fields__:
            if name not in ("priority", *LabelChanges.__struct_fields__) and getattr(self, name) not in (None, {}, (), "auto"):
                raise ValueError(f"{name}: the backtest that is run again has its own; leave it out")
        _ = self.labels

    async def submit(self, service: Service, options: RunOptions) -> Run:
        run_id = self.backtest or self.backtest_id
        if run_id is None:
            return await super().submit(service, options)
        try:
            return await service.backtests.rerun(run_id, options, self.labels)
        except NotFound as error:
            error.where = "backtest_id" if self.backtest is None else "backtest"
            raise


_NAMES: Final = frozenset(OlderRerunRequest.__struct_fields__) - {*BacktestRequest.__struct_fields__, "backtest"}


def is_older(body: dict[str, Any]) -> bool:
    """Whether a body has a name, or a form of a timeframe, that only older clients use."""
    return not _NAMES.isdisjoint(body) or _is_older_timeframe(body.get("timeframe"))


def _is_older_timeframe(timeframe: Any) -> bool:
    """Whether it is a number of minutes, as a number or as in 60m."""
    return isinstance(timeframe, int) or (
        isinstance(timeframe, str) and timeframe.endswith("m") and timeframe not in timeframes.MILLISECONDS
    )


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


def _epoch_ms(where: str, text: str, *, end: bool = False) -> int:
    """The UTC epoch milliseconds of an ISO 8601 text; of a date without a time its start or, with `end`, its end."""
    try:
        time = to_epoch_ms(text, where)
        if end and _is_date(text):
            time += timeframes.DAY_MS
    except BarstormError as error:
        raise ValueError(f"{error.where}: {error.message}; use ISO 8601, such as 2024-06-30 or 2024-06-30T12:00:00Z") from None
    if time < 0:
        raise ValueError(f"{where}: {text!r} is before 1970; use a later time")
    return time
