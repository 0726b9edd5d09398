"""Diagnostics: a strategy's values bar by bar, why it trades as it does, and whether its signals can be trusted.

    from python_core import diagnostics

    diagnostics.activity(bars, strategy).findings
    diagnostics.check(bars, strategy).sound

All of it runs on the Python engine, one row for each strategy bar.
"""

from python_core.diagnostics.activity import ConditionPart, StrategyActivity, activity
from python_core.diagnostics.diagnose import Diagnosis, diagnose
from python_core.diagnostics.lookahead import HistoryDependence, LookAhead, SignalCheck, check
from python_core.diagnostics.values import MAX_BARS, Plot, Values, plot, values

__all__ = [
    "MAX_BARS",
    "ConditionPart",
    "Diagnosis",
    "HistoryDependence",
    "LookAhead",
    "Plot",
    "SignalCheck",
    "StrategyActivity",
    "Values",
    "activity",
    "check",
    "diagnose",
    "plot",
    "values",
]
