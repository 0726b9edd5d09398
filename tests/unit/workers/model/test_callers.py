"""Callers: the default rights are the least."""

from __future__ import annotations

import pytest

from workers.errors import Forbidden
from workers.model.callers import OPERATOR, Caller, Scope


def test_a_caller_may_read_its_own_unless_more_is_stated() -> None:
    caller = Caller(owner="anna")
    caller.require(Scope.READ)
    with pytest.raises(Forbidden):
        caller.require(Scope.WRITE)
    assert caller.sees("anna")
    assert not caller.sees("")


def test_the_operator_may_do_all() -> None:
    OPERATOR.require(Scope.ADMIN)
    assert OPERATOR.sees("anna")
