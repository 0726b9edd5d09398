"""Expressions have the meaning worked out by hand, and invalid ones are rejected with the column and a hint."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.engine.evaluate import evaluate
from python_core.engine.strategy_bars import StrategyBars
from python_core.language.compiler import MAX_DEPTH, MAX_LENGTH

# Text, and the message after «entry_long, column »; ... stands for any rest.
BAD = {
    # names
    "clos > 1": "1: unknown name 'clos'; did you mean 'close'?",
    "close > opne": "9: unknown name 'opne'; did you mean 'open'?",
    "   foo > 1 ": "4: unknown name 'foo'; use one of open, high, low, close, volume...",
    "(close >\n foo)": "11: unknown name 'foo'; use one of open, high, low, close, volume...",
    "sma > 1": "1: 'sma' is a function; call it, as in sma(close, ...)",
    "smaa(close, 3) > 1": "1: unknown function 'smaa'; did you mean 'sma'?",
    "crossver(close, open)": "1: unknown function 'crossver'; did you mean 'crossover'?",
    "eval(close)": "1: unknown function 'eval'; ...",
    # types
    "close": "1: expected a condition, got a number; compare it, as in close > open",
    "close and open > 1": "1: expected a condition, got a number; compare it, as in rsi(close, 14) < 30",
    "not close": "5: expected a condition, got a number; compare it, as in rsi(close, 14) < 30",
    "(close > 1) + 1 > 1": "2: expected a number, got a condition; use a series or a number here",
    "sma(close > 1, 3) > 1": "5: expected a number, got a condition; use a series or a number here",
    "-(close > 1) > 1": "3: expected a number, got a condition; use a series or a number here",
    "close[True] > 1": "7: expected a number, got a condition; use a series or a number here",
    "close > None": "9: expected a number, got None; use numbers, names and functions",
    # arguments
    "sma(close) > 1": "1: sma takes 2 arguments, not 1; write sma(series, length)",
    "sma(close, 3, 4) > 1": "1: sma takes 2 arguments, not 3; write sma(series, length)",
    "crossover(close)": "1: crossover takes 2 series, not 1; write crossover(a, b)",
    "sma(close, size=3) > 1": "1: sma has no argument 'size'; use one of series, length, tf",
    "sma(close, lenght=3) > 1": "1: sma has no argument 'lenght'; did you mean 'length'?",
    "sma(close, 3, length=3) > 1": "1: sma gets length twice; remove one of them",
    "sma(close, length=3, length=4) > 1": "1: sma gets length twice; remove one of them",
    "sma(length=3) > 1": "1: sma needs series; write sma(series, length)",
    "sma(close, 3, '4h', tf='1d') > 1": "1: sma has 2 timeframes; remove one of them",
    "max(a=close, b=open) > 1": "1: max takes its arguments by position; remove their names",
    "sma(*close) > 1": "1: sma doesn't accept * arguments; write the arguments one by one",
    "sma(**close) > 1": "1: sma doesn't accept ** arguments; write sma(series, length)",
    "ema(close, 20).value > 1": "1: ema has no output 'value'; remove the dot and the name",
    "macd(close).histogram > 1": "1: macd has no output 'histogram'; did you mean 'hist'?",
    "sma(close, 2.5) > 1": "12: the length of sma is 2.5; use a whole number from 1 to 1,000,000",
    "ema(close, 0) > 1": "12: the length of ema is 0; use a whole number from 1 to 1,000,000",
    "rsi(close, 1e9) > 1": "12: the length of rsi is 1e+09; use a whole number from 1 to 1,000,000",
    "sma(close, volume) > 1": "12: the length of sma must be a constant; use a number or a parameter",
    "abs(close, 2) > 1": "1: abs takes 1 number, not 2; write abs(x)",
    "min(close) > 1": "1: min takes 2 or more numbers, not 1; write min(a, b)",
    "max() > 1": "1: max takes 2 or more numbers, not 0; write max(a, b)",
    "rising(close)": "1: rising takes 2 arguments, not 1; write rising(series, length)",
    "falling(close, 0)": "16: the length of falling is 0; use a whole number from 1 to 1,000,000",
    "rising(close > 1, 2)": "8: expected a number, got a condition; use a series or a number here",
    "rising(close, 3) > 1": "1: expected a number, got a condition; use a series or a number here",
    # conditional
    "close if open else high": "10: expected a condition, got a number; compare it, as in rsi(close, 14) < 30",
    "(1 if close > 1 else close > 2) > 1": "2: one branch is a number and the other a condition; use two numbers or two conditions",
    # position state
    "bars_in_position > 5": "1: 'bars_in_position' is unknown when signals are computed; to act on a position, set stop_loss, ...",
    "close > entry_price": "9: 'entry_price' is unknown when signals are computed; to act on a position, set stop_loss, ...",
    # looking back and ahead
    "close[-1] > 1": "1: x[-1] would look ahead; use x[1] for the value one bar earlier",
    "close > close[1 - 2]": "9: x[-1] would look ahead; use x[1] for the value one bar earlier",
    "close[0.5] > 1": "1: the index must be a constant whole number; x[1] is the value one bar earlier",
    "close[1:2] > 1": "1: the index must be a constant whole number; x[1] is the value one bar earlier",
    "close[1, 2] > 1": "1: the index must be a constant whole number; x[1] is the value one bar earlier",
    "close[volume] > 1": "1: the index must be a constant whole number; x[1] is the value one bar earlier",
    "close[1000001] > 1": "1: x[1e+06] looks back too far; use at most 1,000,000",
    # numbers
    "9" * 400 + " > close": "1: the number is too large; use a finite number",
    "close > 1e999": "9: the number is too large; use a finite number",
    "1or 2": "1: '1or' is not a number; write it as 10, 0.5 or 1e3",
    "close > 0x10": "9: '0x10' is not a number; write it as 10, 0.5 or 1e3",
    "close > 1j": "9: '1j' is not a number; write it as 10, 0.5 or 1e3",
    # Python outside the language
    "close ** 2 > 1": "1: the operator ** is not supported; use + - * /",
    "close % 2 > 1": "1: the operator % is not supported; use + - * /",
    "close @ 2 > 1": "1: the operator @ is not supported; use + - * /",
    "~close > 1": "1: the operator ~ is not supported; use not",
    "close in open": "1: the operator in is not supported; use < <= > >= == !=",
    "close is open": "1: the operator is is not supported; use < <= > >= == !=",
    "close.real > 1": "1: a dot after a name is not supported; see the list of functions and operators",
    "(lambda: 1)()": "1: only functions of the language can be called...",
    "[x for x in close]": "1: for is not supported; see the list of functions and operators",
    "(a := 1) > 1": "2: := is not supported; see the list of functions and operators",
    "__import__('os')": "1: unknown function '__import__'; ...",
    "close > '1'": "9: expected a number, got '1'; use numbers, names and functions",
    "close > f'{1}'": "9: f'' is not supported; see the list of functions and operators",
    "close > 'a": "9: not an expression: unterminated string literal (detected at line 1); write it as in close > sma(close, 20)",
    "close > 1 # why": "11: '#' is not allowed; write it as in close > sma(close, 20)",
    "close > 1; open": "10: ';' is not allowed; write it as in close > sma(close, 20)",
    "close \\\n > 1": "7: '\\\\' is not allowed; write it as in close > sma(close, 20)",
    "clоse > 1": "3: 'о' is not allowed; write it as in close > sma(close, 20)",  # noqa: RUF001
    "close ≥ 1": "7: '≥' is not allowed; write it as in close > sma(close, 20)",
    "\0": "1: '\\x00' is not allowed; write it as in close > sma(close, 20)",
    "\ud800 > 1": "1: '\\ud800' is not allowed; write it as in close > sma(close, 20)",
    # syntax errors
    "close >": "8: not an expression: invalid syntax; write it as in close > sma(close, 20)",
    "  close > (1": "11: not an expression: '(' was never closed; write it as in close > sma(close, 20)",
    "close) > (1": "6: not an expression: unmatched ')'; write it as in close > sma(close, 20)",
    "close = 1": "7: not an expression: invalid syntax...",
    "import os": "1: not an expression: invalid syntax; write it as in close > sma(close, 20)",
    # size
    "-" * 50 + "close > 1": f"{MAX_DEPTH}: the expression is nested too deeply; use at most {MAX_DEPTH} levels",
    "close" + " + 1" * 50 + " > 1": f"1: the expression is nested too deeply; use at most {MAX_DEPTH} levels",
    "(" * 250 + "close" + ")" * 250: "201: not an expression: too many nested parentheses; write it as in close > sma(close, 20)",
}


@pytest.mark.parametrize("text", BAD)
def test_an_invalid_expression_is_rejected_with_column_and_hint(text: str) -> None:
    with pytest.raises(bt.StrategyError) as caught:
        bt.Strategy(entry_long=text)
    message = str(caught.value).removeprefix("entry_long, column ")
    assert message == BAD[text] or (BAD[text].endswith("...") and message.startswith(BAD[text].removesuffix("...")))


def test_an_expression_longer_than_the_limit_is_rejected() -> None:
    with pytest.raises(bt.StrategyError, match=r"^entry_long: the expression has 2,001 characters; use at most 2,000$") as caught:
        bt.Strategy(entry_long="close > 1".ljust(MAX_LENGTH + 1))
    assert caught.value.code == "too_large"
    bt.Strategy(entry_long="close > 1".ljust(MAX_LENGTH))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("foo > 1", "unknown_name"),
        ("foo(close) > 1", "unknown_function"),
        ("close[-1] > 1", "look_ahead"),
        ("position_size > 0", "position_state"),
        ("-" * 99 + "close > 1", "too_large"),
    ],
)
def test_each_kind_of_error_has_its_own_code(text: str, code: str) -> None:
    with pytest.raises(bt.StrategyError) as caught:
        bt.Strategy(entry_long=text)
    assert caught.value.code == code


@pytest.fixture
def true_bars(engine: str) -> Callable[[bt.Bars, str], list[int]]:
    """Bars (but the last) on which a condition is true: those before an entry, since each position lasts for one bar."""

    def find(bars: bt.Bars, text: str, **more: object) -> list[int]:
        rules = bt.Execution(max_bars=1, sizing="fixed_quantity", size=0.001, commission=0)
        result = bt.backtest(bars, bt.Strategy(entry_long=text, **more), rules, engine=engine)  # type: ignore[arg-type]
        assert not result.rejected_orders
        return (result.trades.array["entry_index"] - 1).tolist()

    return find


# Conditions over closes of 1 2 4 3 3 5 1 9 (bars 0 to 7), and the bars among 0 to 6 on which they are true.
CLOSES = [1, 2, 4, 3, 3, 5, 1, 9]
MEANINGS = {
    "close > 2": [2, 3, 4, 5],
    "close >= 3": [2, 3, 4, 5],
    "close < 2": [0, 6],
    "close <= 2": [0, 1, 6],
    "close == 3": [3, 4],
    "close != 3": [0, 1, 2, 5, 6],
    "2 < close <= 4": [2, 3, 4],
    "1 < close < 5 < 6": [1, 2, 3, 4],
    "close > 2 and close < 5": [2, 3, 4],
    "close < 2 or close > 4": [0, 5, 6],
    "not close > 2": [0, 1, 6],
    "not (close > 2 and close < 5)": [0, 1, 5, 6],
    "True": [0, 1, 2, 3, 4, 5, 6],
    "False": [],
    "not True": [],
    "close > 2 and True": [2, 3, 4, 5],
    "close[1] == 4": [3],
    "close[0] == 4": [2],
    "close[1][2] == 4": [5],
    "close - close[1] > 0": [1, 2, 5],
    "close > close[7]": [],
    "+close - -close == 6": [3, 4],
    "close * 2 == 8 or close / 2 == 2.5": [2, 5],
    "1 / (close - 1) > 1e300": [0, 6],  # infinity is known
    "(close - 1) / (close - 1) == 1": [1, 2, 3, 4, 5],  # 0 / 0 is unknown
    "not (close - 1) / (close - 1) == 2": [1, 2, 3, 4, 5],
    "2 + 3 * 2 == 8 and close == 4": [2],
    "(2 + 3) * 2 == 10 and close == 4": [2],
    "8 / 4 / 2 == 1 and close == 4": [2],
    "-2 - 2 == -4 and close == 4": [2],
    "hl2 == close and hlc3 >= 3 and ohlc4 == close": [2, 3, 4, 5],
    # a crossing needs the bar before at or on the other side
    "crossover(close, 2)": [2],
    "crossover(close, 3)": [2, 5],
    "crossunder(close, 3)": [6],
    "crossunder(close, 4)": [3, 6],
    "crossunder(2, close)": [2],
    "crossover(close, close[1])": [5],
    "crossover(close, close)": [],
    # rising or falling on each of the last bars
    "rising(close, 1)": [1, 2, 5],
    "rising(close, 2)": [2],
    "falling(close, 1)": [3, 6],
    "not rising(close, 2)": [3, 4, 5, 6],
    "rising(sma(close, 2), 2)": [3],  # 1.5 3 3.5 3 4 3 on bars 1 to 6
    "not falling(sma(close, 2), 3)": [4, 5, 6],
    # one of two
    "(close if close > 3 else 10 * close) == 10": [0, 6],
    "close > 4 if close[1] < 4 else close < 4": [3, 5, 6],
    "(1 if sma(close, 3) > 3 else 2) == 2": [2, 3, 6],  # unknown before
    "(close if sma(close, 3) > 0 else 1) < 9": [2, 3, 4, 5, 6],
    # elementwise functions
    "abs(close - 3) == 2": [0, 5, 6],
    "sign(close - 3) == -1": [0, 1, 6],
    "sign(close - 3) == 0": [3, 4],
    "sqrt(close) == 2": [2],
    "sqrt(-close) > 0 or True": [],
    "log(close) == 0": [0, 6],
    "log(close - 1) < -1e300": [0, 6],
    "exp(close - 3) == 1": [3, 4],
    "min(close, 3) == 3": [2, 3, 4, 5],
    "max(close, 3, 2 * close - 2) == 3": [0, 1, 6],
    "min(close, sma(close, 3)) > 0": [2, 3, 4, 5, 6],
    "max(sma(close, 3), close) > 0": [2, 3, 4, 5, 6],
    "sma(close, max(2, min(3, 7))) == 3": [3, 6],
    # by name, with defaults, another output
    "sma(length=3, series=close) == 3": [3, 6],
    "highest(close, 3).bars == 0": [2, 5],
    "highest(close, length=3) == 4": [2, 3, 4],
    # nothing is true while any part is unknown
    "sma(close, 3) > 0": [2, 3, 4, 5, 6],
    "not sma(close, 3) > 0": [],
    "close > 0 or sma(close, 3) > 0": [2, 3, 4, 5, 6],
    "crossover(close, sma(close, 3))": [5],
    "sma(close, 8) > 0": [],
    "sma(close, 100) > 0": [],
    # a parameter, a definition
    "close > limit": [2, 3, 4, 5],
    "flag and close > limit": [2, 3, 4, 5],
    "higher": [1, 2, 5],
    "not higher": [3, 4, 6],  # on bar 0 the bar before is unknown
    "twice == 8": [2],
    "sma(close, length) == 3": [3, 6],
}


@pytest.mark.parametrize("timeframe", ["1h", "4h", "1d", "1w"])
def test_hour_weekday_and_minute_are_those_of_the_open_time_in_utc(timeframe: str, engine: str) -> None:
    bars = bt.synthetic(24 * 40, timeframe="1h")
    rows = StrategyBars(bars, timeframe)
    opens = [datetime.fromtimestamp(ms / 1000, UTC) for ms in rows.columns["time"]]
    for name, value in (("hour", lambda t: t.hour), ("weekday", lambda t: t.weekday()), ("minute", lambda t: t.minute)):
        for wanted in (0, 4, 5):
            rules = bt.Execution(max_bars=1, sizing="fixed_quantity", size=0.001, commission=0)
            result = bt.backtest(bars, bt.Strategy(entry_long=f"{name} == {wanted}", timeframe=timeframe), rules, engine=engine)
            entries = {int(rows.fills_at[k]) for k, t in enumerate(opens) if value(t) == wanted} - {len(bars)}
            held = set(result.trades.array["entry_index"].tolist())
            assert held <= entries
            assert bool(held) == bool(entries)


@pytest.mark.parametrize("text", MEANINGS)
def test_an_expression_is_true_on_the_bars_worked_out_by_hand(
    text: str, true_bars: Callable[..., list[int]], make_bars: Callable[..., bt.Bars]
) -> None:
    names = {"define": {"higher": "close > close[1]", "twice": "2 * close"}, "params": {"limit": 2, "flag": True, "length": 3}}
    assert true_bars(make_bars(CLOSES), text, **names) == MEANINGS[text]


def test_a_long_chain_of_conditions_is_not_nesting(true_bars: Callable[..., list[int]], make_bars: Callable[..., bt.Bars]) -> None:
    assert true_bars(make_bars(CLOSES), " or ".join(f"close == {i}" for i in range(100))) == [0, 1, 2, 3, 4, 5, 6]


def test_a_plan_computes_each_indicator_once() -> None:
    from python_core.strategy.compile import compile_plan

    strategy = bt.Strategy(
        entry_long="crossover(sma(close, fast), sma(close, slow))",
        exit_long="crossunder(sma(close, 10), slow_line)",
        define={"slow_line": "sma( close , 30 )"},
        params={"fast": 10, "slow": 30},
    )
    assert [node.op for node in compile_plan(strategy, ()).nodes].count("sma") == 2


def test_a_plan_has_no_unused_operations() -> None:
    from python_core.strategy.compile import compile_plan

    strategy = bt.Strategy(entry_long="close > sma(close, n)", define={"unused": "ema(close, 2 * n)"}, params={"n": 10})
    assert [(node.op, node.inputs) for node in compile_plan(strategy, ()).nodes] == [("close", ()), ("sma", (0,)), ("gt", (0, 1))]


def test_the_warm_up_adds_up_along_nested_functions() -> None:
    from python_core.strategy.compile import compile_plan

    def warm_up(text: str) -> int:
        return compile_plan(bt.Strategy(entry_long=text), ()).warm_up

    assert warm_up("close > 1") == 0
    assert warm_up("close > sma(close, 20)") == 19
    assert warm_up("close > sma(sma(close, 20), 5)") == 19 + 4
    assert warm_up("crossover(close, sma(close, 20))") == 20
    assert warm_up("rsi(close, 14)[3] > 50") == 14 + 3
    assert warm_up("atr(14) > 1") == 1 + 13
    assert warm_up("rising(sma(close, 20), 3)") == 19 + 3
    assert warm_up("(close if close > 1 else sma(close, 20)) > hour") == 19


@given(
    closes=st.lists(st.integers(1, 9), min_size=40, max_size=40),
    text=st.sampled_from(
        [
            "crossover(close, sma(close, 5))",
            "rsi(close, 3) > 60",
            "ema(close, 4) > close[2]",
            "atr(3) > 2",
            "close[7] > close",
            "falling(close[2], 3)",
        ]
    ),
)
@settings(max_examples=60)
def test_signals_are_known_exactly_from_the_warm_up_on(closes: list[int], text: str) -> None:
    from python_core.strategy.compile import compile_plan

    plan = compile_plan(bt.Strategy(entry_long=text), ())
    column = np.array(closes, dtype=float)
    bars = bt.Bars(np.arange(40) * 3_600_000, column, column, column, column, column)
    _, known = evaluate(plan.nodes, StrategyBars(bars, None))[plan.conditions[0]]
    assert known.argmax() == plan.warm_up
    assert known[plan.warm_up :].all()
