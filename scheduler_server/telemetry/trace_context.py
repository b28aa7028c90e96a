"""Which span the call at hand belongs to. In contexts of asyncio, so that calls at the same time do not mix."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

from scheduler_server.model.trace import Trace

CURRENT: ContextVar[Trace | None] = ContextVar("scheduler_trace", default=None)
"""The span that is being worked for; log records carry its ids."""

REPORTER: ContextVar[Trace | None] = ContextVar("scheduler_reporter", default=None)
"""The span of the call that tells how tasks ended; their own spans link to it."""

NO_REPORTS: Mapping[str, Trace] = MappingProxyType({})

REPORTS: ContextVar[Mapping[str, Trace]] = ContextVar("scheduler_reports", default=NO_REPORTS)
"""The spans that the reports at hand name themselves, by lease: these go before."""
