"""Logging: one line per event, as text or JSON, never with API keys, nor with the content of requests or strategies."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Final

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from workers.settings import Settings

# An API key, as somebody may pass it where an id belongs. Its prefix may be known.
_KEY: Final = re.compile(r"(bst_[0-9a-f]{12})_[\w-]+", re.ASCII)


def without_keys(text: str) -> str:
    """The text with the prefix of each API key instead of the key."""
    return _KEY.sub(r"\1", text)


def set_up(settings: Settings) -> None:
    """Log to standard error; loggers of the standard library use the same format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer, _hide_keys]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("aiosqlite", "alembic", "arq", "httpcore", "httpx", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _hide_keys(_: object, __: str, line: Any) -> str:
    return without_keys(line)
