"""A worker process of the benchmark: python work.py CONTENDER REDIS_URL TALLY NUMBER."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from queues import all_contenders
from queues.tally import Tally


def main(name: str, redis_url: str, tally: str, number: str) -> None:
    contender = dict(all_contenders())[name](redis_url)
    working = contender.work(Tally(Path(tally), int(number)))
    if contender.uvloop:
        import uvloop

        uvloop.run(working)
    else:
        asyncio.run(working)


if __name__ == "__main__":
    main(*sys.argv[1:])
