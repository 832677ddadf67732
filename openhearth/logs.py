"""Structured logging to standard error: one event a line, JSON for machines or aligned text for people.

Knows how lines look. What is worth a line is for the others to say; prompts, outputs and keys never are.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]


def configure_logging(level: LogLevel, log_format: LogFormat) -> None:
    """Send every log line, our own and those of libraries, to standard error.

    `auto` is `console` on a terminal and `json` anywhere else.
    """
    is_terminal = sys.stderr.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not is_terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json_renderers() if as_json else [_console_renderer(colors=is_terminal)]),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("alembic", "filelock", "httpcore2", "httpx2", "huggingface_hub", "uvicorn"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))


def _console_renderer(*, colors: bool) -> Processor:
    """Return a renderer whose tracebacks show no local variables: they may hold prompts."""
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def _json_renderers() -> list[Processor]:
    return [structlog.processors.format_exc_info, _time_first, structlog.processors.JSONRenderer()]


def _time_first(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**first, **event}
