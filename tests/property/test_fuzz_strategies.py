"""Any text gives a strategy or an error with its position, without a warning, in time that does not explode with the text."""

from __future__ import annotations

import re
import time
import tracemalloc
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.language.compiler import MAX_DEPTH, MAX_LENGTH, MAX_LOOKBACK
from python_core.language.plan import MAX_NODES, MAX_SERIES
from python_core.strategy import compile, library
from python_core.strategy.builder import FUNCTIONS, SERIES
from python_core.strategy.strategy import MAX_TEXT
from tests.support.cases import CASES

# Seconds of processor time. A text takes milliseconds; one whose work grows with a power of its length passes this on any machine.
BLOW_UP_S = 2
BARS = bt.synthetic(150)
thorough = settings(max_examples=CASES, suppress_health_check=list(HealthCheck))
whole_strategies = settings(thorough, max_examples=min(CASES, 20_000))

RECIPES = [recipe.strategy for recipe in library.load_all()]
CONDITIONS = sorted({text for recipe in RECIPES for name in compile.CONDITIONS if (text := getattr(recipe, name))})
DEFINE = {name: text for recipe in RECIPES for name, text in recipe.define.items()}
PARAMS = {name: value for recipe in RECIPES for name, value in recipe.values.items() if name not in DEFINE}
TEXTS = [*CONDITIONS, *DEFINE.values()]
OPERATORS = "( ) [ ] , . : + - * / % ** // < <= > >= == != = := & | ~ ^ @"
WORDS = "and or not if else lambda in is for await yield None True False fast tf"
CONSTANTS = "0 1 14 -1 0.5 1e308 1e-320 1e999 10**9 0x10 1_0 1j 1if 0777 '4h' b'' f'{close}' '\\d' ... # \\ ; é \uff43lose \ud800"
TOKENS = [
    *SERIES,
    *FUNCTIONS,
    *[token for line in (OPERATORS, WORDS, CONSTANTS) for token in line.split()],
    "\n",
    "\0",
    "999999999999999999999999999999",
    "at('4h',",
    ", tf='1d')",
    ", length=3)",
    "macd(close).hist",
    "close_4h",
    "ema_4h(",
    "'",
    '"1h"',
    "__import__('os')",
    "close.__class__",
    "(" * 30,
    ")" * 30,
    "-" * 50,
    "not " * 50,
]
random_texts = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(TOKENS), max_size=40).map(" ".join),
    st.lists(st.sampled_from(TOKENS), max_size=12).map("".join),
)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A text of the library, with a few pieces removed, inserted, doubled or replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        other = draw(st.sampled_from(TEXTS))
        piece = draw(st.sampled_from([*TOKENS, "", text[start:end] * 2, f"({text[start:end]})", f"({other})", other]))
        text = text[:start] + piece + text[end:]
    return text


KINDS = (SERIES, ("+", "-", "*", "/"), ("<", "<=", ">", ">=", "==", "!="), ("and", "or"), ("1", "2.5", "14", "1e3", "fast", "length"))


@st.composite
def variations(draw: st.DrawFn) -> str:
    """Texts of the library, joined, with words replaced by others of their kind; most are valid."""
    words: list[str] = []
    for text in draw(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3)):
        words += [
            *(draw(st.sampled_from([["and"], ["or"], ["and", "not"]])) if words else []),
            "(",
            *re.findall(r"[\w.]+|[<>=!]=?|\S", text),
            ")",
        ]
    for i, word in enumerate(words):
        kind = next((kind for kind in KINDS if word in kind or (kind is KINDS[-1] and word.isdigit())), None)
        if kind and draw(st.integers(0, 3)) == 0:
            words[i] = draw(st.sampled_from(kind))
    return " ".join(words)


texts = st.one_of(random_texts, mutations())
names = st.one_of(st.sampled_from(["fast", "slow", "x", "close", "lambda", "a b", ""]), st.text(max_size=5))
numbers = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from([10, 20, 10**400]))
params = st.one_of(
    numbers,
    st.fixed_dictionaries(
        {"type": st.sampled_from(["int", "float", "bool", "choice", "x"]), "default": numbers},
        optional={"min": numbers, "max": numbers, "step": numbers, "choices": st.lists(numbers, max_size=3), "other": numbers},
    ),
)


def parse(fields: dict[str, Any]) -> bt.Strategy | bt.BarstormError:
    """The strategy or error, which must not take time that explodes with the text."""
    compile._compile.cache_clear()
    begin = time.thread_time()
    result: bt.Strategy | bt.BarstormError
    try:
        result = bt.Strategy(**fields)
    except bt.BarstormError as error:
        result = error
    assert time.thread_time() - begin < BLOW_UP_S
    if isinstance(result, bt.BarstormError):
        assert result.where
        assert result.hint
        assert len(str(result)) < 3_000
    return result


def assert_consistent(made: bt.Strategy | bt.BarstormError) -> None:
    """An accepted strategy can be explained, stored, read and written in one canonical form."""
    event(type(made).__name__)
    if not isinstance(made, bt.Strategy):
        return
    assert made.explain()
    assert made.warm_up_bars >= 0
    assert msgspec.json.decode(msgspec.json.encode(made), type=bt.Strategy) == made
    if max(map(len, (made.canonical()["entry_long"], *made.canonical()["define"].values()))) > MAX_LENGTH:
        return  # the canonical form may be too long
    again = bt.Strategy(**made.canonical())
    assert again.hash == made.hash
    assert again.canonical() == made.canonical()
    assert again.warm_up_bars == made.warm_up_bars
    assert outcome(again) == outcome(made)


def outcome(made: bt.Strategy) -> str:
    """The digest of a run; whether the timeframe fits the bars is only known here."""
    try:
        return bt.backtest(BARS, made).digest
    except bt.StrategyError as error:
        if "can't be built from" not in str(error):
            raise
        return "does not fit"


@thorough
@given(text=texts)
@example("sma(close, 1 / 0) > 1")
@example("close[1 / 0] > 1")
@example("close[0 / 0] > 1")
@example("1or 2")
@example("1if 2else 3")
@example("close > 0x1for x in close")
@example("'\\d' > close")
@example("close\\\n> 1")
@example("\ud800")
@example("close > 1 # comment")
@example("(yield close) > 1")
@example("-" * 1_999 + "1")
@example("(" * 2_000)
@example("[" * 90 + "]" * 90)
@example("close" + "[1]" * 600)
@example("close" + ".a" * 900)
@example("not " * 499 + "x")
@example("close > 1 and " * 140 + "True")
@example(" or ".join(["close>1"] * 200))
@example("close > " + "1+" * 990 + "1")
@example("close" + "<close" * 300)
@example("1" + "0" * 1_990 + "> close")
@example("a" * 1_999)
@example("f'{close}'")
def test_any_text_gives_a_strategy_or_an_error(text: str) -> None:
    assert_consistent(parse({"entry_long": text}))


@whole_strategies
@given(
    entry=st.one_of(texts, variations()),
    define=st.dictionaries(names, texts, max_size=3),
    given=st.dictionaries(names, params, max_size=3),
    constraint=st.one_of(st.none(), texts, st.just("fast < slow")),
    timeframe=st.sampled_from([None, None, "1h", "15m", "D", "x"]),
    additional=st.sampled_from([[], ["4h"], ["1d", "240"], ["x"], "4h", None]),
    filters=st.one_of(
        st.just({}),
        st.fixed_dictionaries({"timeframe": st.sampled_from(["4h", "1w", "x"]), "condition": st.one_of(texts, variations())}).map(
            lambda one: {"long": [one]}
        ),
        st.dictionaries(st.sampled_from(["long", "short", "x"]), st.lists(st.one_of(texts, st.integers()), max_size=2), max_size=2),
    ),
)
def test_any_fields_give_a_strategy_or_an_error(
    entry: str, define: dict[str, str], given: dict[str, Any], constraint: str | None, timeframe: Any, additional: Any, filters: Any
) -> None:
    fields = {
        "entry_long": entry,
        "define": DEFINE | define,
        "params": PARAMS | given,
        "constraints": () if constraint is None else (constraint,),
        "timeframe": timeframe,
        "additional_timeframes": additional,
        "htf_filters": filters,
    }
    assert_consistent(parse(fields))


@whole_strategies
@given(text=st.one_of(mutations(), variations()))
@example("at('4h', '4h') > 1")
def test_any_mutated_library_strategy_gives_a_strategy_or_an_error(text: str) -> None:
    assert_consistent(parse({"entry_long": text, "define": DEFINE, "params": PARAMS}))


LIMITS: list[tuple[dict[str, Any], str]] = [
    (
        {"entry_long": "close > 1 " + " " * MAX_LENGTH},
        f"entry_long: the expression has {MAX_LENGTH + 10:,} characters; use at most {MAX_LENGTH:,}",
    ),
    ({"entry_long": "-" * (MAX_DEPTH + 1) + "close > 1"}, f"the expression is nested too deeply; use at most {MAX_DEPTH} levels"),
    ({"entry_long": f"close[{MAX_LOOKBACK + 1}] > 1"}, "looks back too far"),
    ({"entry_long": f"sma(close, {MAX_LOOKBACK + 1}) > 1"}, "the length of sma is"),
    (
        {"entry_long": "close > 1", "define": {f"d{i}": "+".join(f"close[{i * 60 + k + 1}]" for k in range(30)) for i in range(40)}},
        f"needs more than {MAX_NODES:,} operations; make it smaller",
    ),
    (
        {"entry_long": "close > 1", "define": {f"d{i}": "+".join(f"sma(close, {i * 30 + k + 1})" for k in range(30)) for i in range(20)}},
        f"define.d16: the strategy needs more than {MAX_SERIES} series; use fewer functions",
    ),
    (
        {"entry_long": "+".join(f"sma(close, {MAX_LOOKBACK - i})" for i in range(11)) + " > 1"},
        "entry_long: the functions look back 10,999,934 bars in total; use at most 10,000,000: shorten the lengths",
    ),
    (
        {"entry_long": "at('1w', sma(close, 1000)) > 1", "timeframe": "1s"},
        "entry_long: the first 604,799,999 bars would have no signal; use at most 100,000,000: choose shorter lengths or finer timeframes",
    ),
    (
        {"entry_long": "close > 1", "define": {f"d{i}": "close" + " " * (MAX_LENGTH - 5) for i in range(10)}},
        f"define: the expressions have {MAX_TEXT + 9:,} characters together; use at most {MAX_TEXT:,}: give what is repeated a name",
    ),
    (
        {"entry_long": "close > 1", "define": {f"d{i}": "close" for i in range(101)}},
        "define: too many names, or not a mapping; use at most 100 names",
    ),
    (
        {"entry_long": "close > 1", "params": {f"d{i}": 1 for i in range(101)}},
        "params: too many names, or not a mapping; use at most 100 names",
    ),
]


@pytest.mark.parametrize(("fields", "message"), LIMITS, ids=[message for _, message in LIMITS])
def test_each_limit_has_its_own_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(bt.StrategyError) as caught:
        bt.Strategy(**fields)
    assert message in str(caught.value)
    assert caught.value.where


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_definitions_makes_no_difference(order: int) -> None:
    chain = {"d0": "close", **{f"d{i}": f"d{i - 1} + open[{i}]" for i in range(1, 100)}}
    made = bt.Strategy(entry_long="d99 > 0", define=dict(list(chain.items())[::order]))
    assert made.warm_up_bars == 99
    assert made.hash == bt.Strategy(entry_long="d99 > 0", define=chain).hash


def test_a_hostile_text_takes_little_memory() -> None:
    hostile = [
        "(" * 2_000,
        "-" * 1_999 + "1",
        "close" + "[1]" * 600,
        "[" * 90 + "]" * 90,
        "not " * 499 + "x",
        f"sma(close, {MAX_LOOKBACK}) > close[{MAX_LOOKBACK}]",
    ]
    for text in hostile:
        tracemalloc.start()
        with suppress(bt.StrategyError):
            bt.Strategy(entry_long=text)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4_000_000, text[:40]
