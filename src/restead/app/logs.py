"""Where log lines go: standard error, for people on a terminal, as JSON lines elsewhere."""

import json
import logging
import os
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from restead.settings import Settings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# These write addresses and headers of requests: a webhook's path may be a secret.
_TELL_ADDRESSES = ("httpx2", "httpcore2")


def set_up_logs(settings: Settings) -> None:
    """Make structlog, and the standard library's loggers through it, write one line per event."""
    level = _LEVELS[settings.log_level]
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # Tracebacks without the values of variables: one of them could be a secret.
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    plain = structlog.dev.plain_traceback
    ending: list[Processor] = (
        [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer(default=repr)]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_Lines(sys.stderr.fileno(), as_json=as_json))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
            foreign_pre_chain=[*shared, _logger_name],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "sqlalchemy"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # the API writes its own line for each request
    logging.getLogger("uvicorn").setLevel(max(level, logging.ERROR))  # what it warns of, and start and stop, ours tell
    for name in ("alembic", "asyncio", *_TELL_ADDRESSES):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _logger_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event["logger"] = record.name
    return event


class _Lines:
    """A file of lines, as logging writes to it.  A line for which there is no space is lost, and harms no later one:
    as soon as there is space again it is told how many were lost, on a line of its own."""

    def __init__(self, fd: int, *, as_json: bool) -> None:
        self._fd = fd
        self._as_json = as_json
        self._lost = 0
        self._torn = False  # the last line that is there has no end

    def write(self, line: str) -> None:
        """Write whole lines."""
        try:
            if self._torn:
                self._put("\n")
            if self._lost:
                self._put(self._told())
                self._lost = 0
            self._put(line)
        except OSError:  # nobody can be told now
            self._lost += 1

    def flush(self) -> None:
        """Nothing is kept back."""

    def _put(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        while data:
            written = os.write(self._fd, data)
            self._torn = written < len(data) or not data.endswith(b"\n")
            data = data[written:]

    def _told(self) -> str:
        said = "log lines were lost: they could not be written"
        about = {"event": said, "lines": self._lost, "level": "warning"}
        return (json.dumps(about) if self._as_json else f"{said} ({self._lost})") + "\n"
