"""Generated texts that resemble expressions, most of them invalid."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = st.sampled_from(
    "close open high low volume hl2 sma ema rma rsi atr true_range crossover crossunder shift and or not in is if else lambda for True False None "
    "( ) [ ] { } , . : ; + - * / // ** % < <= > >= == != = := ~ & | ^ @ ' \" \\ # $ 0 1 2 3 20 1.5 .5 1e3 1e 1e999 1_0 0x1 1j 007 ... x __class__ \n \t".split(
        " "
    )
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=30).map("".join), st.lists(WORDS, max_size=30).map(" ".join))
