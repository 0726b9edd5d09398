"""Logarithm and exponential are as accurate as the C library's, and the same on every machine."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest

from python_core.numerics.elementary import exp, log, power

Draw = Callable[[random.Random], float]


def bits(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def ulps(a: float, b: float) -> int:
    """Distance of two values of the same sign in representable numbers."""
    return 0 if a == b else abs(bits(a) - bits(b))


def any_positive(source: random.Random) -> float:
    """Floats with every exponent equally likely, including subnormals."""
    return float(struct.unpack("<d", struct.pack("<q", source.randrange(1, bits(math.inf))))[0])


@pytest.mark.parametrize(
    "draw",
    [
        any_positive,
        lambda source: source.uniform(0.5, 2.0),
        lambda source: 1.0 + source.uniform(-1, 1) * 10 ** source.uniform(-16, -1),
        lambda source: source.randrange(1, 10_000) * 5e-324,
    ],
    ids=["all exponents", "near 1", "very near 1", "subnormal"],
)
def test_log_is_within_one_ulp_of_the_c_library(draw: Draw) -> None:
    source = random.Random(11)
    for x in (draw(source) for _ in range(20_000)):
        assert ulps(log(x), math.log(x)) <= 1, x.hex()


@pytest.mark.parametrize(
    "draw",
    [
        lambda source: source.uniform(-745.1, 709.78),
        lambda source: source.uniform(-1, 1) * 10 ** source.uniform(-20, 0),
        lambda source: source.uniform(-745.1, -708.0),
        lambda source: (source.randrange(-1000, 1000) + 0.5) * math.log(2) * (1 + source.uniform(-1, 1) * 1e-15),
    ],
    ids=["whole range", "near 0", "subnormal results", "between two powers of 2"],
)
def test_exp_is_within_one_ulp_of_the_c_library(draw: Draw) -> None:
    source = random.Random(12)
    for x in (draw(source) for _ in range(20_000)):
        assert ulps(exp(x), math.exp(x)) <= 1, x.hex()


def test_log_and_exp_are_within_one_ulp_of_the_true_value() -> None:
    source = random.Random(13)
    with localcontext() as context:
        context.prec = 40
        for _ in range(300):
            x = any_positive(source)
            true = Decimal(x).ln()
            assert abs(Decimal(log(x)) - true) < Decimal(math.ulp(float(true)))
            x = source.uniform(-700, 700)
            true = Decimal(x).exp()
            assert abs(Decimal(exp(x)) - true) < Decimal(math.ulp(float(true)))


def test_the_limits_of_the_range_are_exact() -> None:
    assert (log(1.0), exp(0.0), exp(-0.0)) == (0.0, 1.0, 1.0)
    assert (log(0.0), log(-0.0), log(math.inf)) == (-math.inf, -math.inf, math.inf)
    assert math.isnan(log(-1.0))
    assert math.isnan(log(-math.inf))
    assert math.isnan(log(math.nan))
    assert math.isnan(exp(math.nan))
    assert (exp(math.inf), exp(-math.inf), exp(709.79), exp(-745.14)) == (math.inf, 0.0, math.inf, 0.0)
    assert exp(709.782712893384) == math.exp(709.782712893384) < math.inf
    assert exp(-745.1332191019411) == 5e-324
    assert log(5e-324) == math.log(5e-324)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (log(3.7), 0x3FF4EEEE650AE550),
        (log(0.3), 0xBFF34378FCBDA721),
        (log(1e-310), 0xC0864E69394D9508),
        (exp(1.7), 0x4015E552770DF8A6),
        (exp(-3.3), 0x3FA2E259BB85BE85),
        (exp(-740.25), 0x42),
        (power(1.37, 12.25), 0x4047A5EC6012F648),
    ],
)
def test_known_inputs_have_the_bits_tested_in_the_rust_crate(value: float, expected: int) -> None:
    assert bits(value) % 2**64 == expected


@pytest.mark.parametrize(("x", "y"), [(2.0, 10.0), (1.5, -3.25), (0.97, 365.0), (1e-300, 0.5), (1e300, 0.9), (7.0, 0.0)])
def test_power_agrees_with_the_c_library_up_to_rounding(x: float, y: float) -> None:
    assert power(x, y) == pytest.approx(x**y, rel=1e-15 * (1 + abs(y * math.log(x))))


def test_power_overflows_to_infinity_and_underflows_to_zero() -> None:
    assert (power(10.0, 400.0), power(0.1, 400.0), power(0.0, 2.0)) == (math.inf, 0.0, 0.0)
