"""Names for types that have none in Python, such as `Literal`s and unions: generated clients name theirs by them."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from api.http.schemas import Names
from python_core.data.timeframes import Timeframe
from python_core.engine.compiled import Engine
from python_core.execution import Calendar, Clock, Fill, Intrabar, Sizing
from python_core.files.options import Decimal, Policy, Stamp
from python_core.files.report import NoticeKind
from python_core.levels import Atr, Expression, Fraction, FractionLevel, Profit, ProfitLevel, Side
from python_core.strategy.params import Param, ParamType, Value
from python_core.trades import Reason
from workers.codes import Code
from workers.data.export import Format
from workers.data.parts import Series
from workers.fetch.requests import FetchKind
from workers.model.names import Label, Name
from workers.model.selection import MarketKind, WarmUp
from workers.service.health import HealthStatus, UsedEngine

NAMES: Final = Names(
    {
        "Calendar": Annotated[Calendar, Meta(description="Days per year in risk metrics: crypto 365, exchange 252, fx 260.")],
        "DecimalMark": Annotated[Decimal, Meta(description="Decimal mark.", extra_json_schema={"x-enum-varnames": ["COMMA", "POINT"]})],
        "Engine": Annotated[Engine, Meta(description="Engine of a run.")],
        "ErrorCode": Code,
        "ExitReason": Annotated[Reason, Meta(description="Why a position was closed.")],
        "Expression": Annotated[Expression, Meta(description="An expression of the strategy language.")],
        "FaultPolicy": Annotated[Policy, Meta(description="What to do about faulty rows.")],
        "FetchKind": Annotated[
            FetchKind,
            Meta(
                description="Kind of market of an exchange; `linear` and `inverse` are perpetual futures settled in the quote or base currency."
            ),
        ],
        "FileFormat": Annotated[Format, Meta(description="Format of a file.")],
        "Fill": Annotated[Fill, Meta(description="Where market orders from signals fill.")],
        "FractionLevel": Annotated[
            FractionLevel, Meta(description="A level as a fraction, an expression or an ATR distance, for both sides or for each.")
        ],
        "FractionSideLevel": Annotated[
            Fraction | Expression | Atr | None, Meta(description="A level of one side as a fraction, an expression or an ATR distance.")
        ],
        "HealthStatus": Annotated[HealthStatus, Meta(description="Whether all components can be written.")],
        "Intrabar": Annotated[Intrabar, Meta(description="Which side of a bar is reached first.")],
        "Label": Annotated[Label, Meta(description="A printable text without spaces at its ends.")],
        "MarketKind": Annotated[
            MarketKind,
            Meta(description="Kind of market; `linear` and `inverse` are perpetual futures settled in the quote or base currency."),
        ],
        "Name": Annotated[
            Name, Meta(description="A name other than an id or a word of the API's paths, without `/`, `@` and spaces at its ends.")
        ],
        "NoticeKind": Annotated[NoticeKind, Meta(description="What was noticed in a file.")],
        "ParamType": Annotated[ParamType, Meta(description="Type of a parameter.")],
        "ParamValue": Annotated[Value, Meta(description="Value of a parameter.")],
        "ProfitLevel": Annotated[
            ProfitLevel, Meta(description="A level as a profit fraction, an expression or an ATR distance, for both sides or for each.")
        ],
        "ProfitSideLevel": Annotated[
            Profit | Expression | Atr | None,
            Meta(description="A level of one side as a profit fraction, an expression or an ATR distance."),
        ],
        "Series": Annotated[Series, Meta(description="What the rows of a file are.")],
        "Side": Annotated[Side, Meta(description="Side of a position.")],
        "Sizing": Annotated[Sizing, Meta(description="How the size of an entry is given.")],
        "StrategyParam": Annotated[
            Value | Param, Meta(description="A parameter of a strategy: its value, or its type, default and range.")
        ],
        "TimeOfDay": Annotated[Clock, Meta(description="A time of the UTC day: HH:MM or minutes.")],
        "Timeframe": Annotated[
            Timeframe,
            Meta(
                description="Time between bars: a name such as 1h or 1M (a month; 1m is a minute), minutes (60) or a code of exchanges (D)."
            ),
        ],
        "TimeStamp": Annotated[Stamp, Meta(description="Whether the times are those at which bars open or end.")],
        "UsedEngine": Annotated[UsedEngine, Meta(description="Engine in use.")],
        "WarmUp": Annotated[WarmUp, Meta(description="How many bars before the start indicators are computed from.")],
    }
)
