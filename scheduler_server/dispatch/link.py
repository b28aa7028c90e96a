"""How the connection to Redis is doing: works, fails since when, and when to try again."""

import logging
from collections.abc import Callable
from random import Random

_LOG = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
"""A restart of Redis takes a second or two; half a minute at most is lost when it comes back after a long while."""

_MOST_WARNINGS = 100


class Link:
    """For the loop's thread. The log tells each change once, not every attempt."""

    def __init__(
        self, location: str, *, wall: Callable[[], float], random: Random, last_retry_s: float = LAST_RETRY_S
    ) -> None:
        self.location = location
        self._last_s = max(FIRST_RETRY_S, min(LAST_RETRY_S, last_retry_s))
        self._wall = wall
        self._random = random
        self._told = ""
        self.failures = 0  # in a row
        self.failed_since: float | None = None  # wall seconds
        self.last_error = ""
        self.last_success_at: float | None = None
        self.warnings: list[str] = []

    @property
    def works(self) -> bool:
        """Did the last attempt succeed? False before the first."""
        return self.last_success_at is not None and not self.failures

    def well(self) -> None:
        """Redis answered."""
        if self.failures:
            _LOG.info("streams of %s: work again after %d failures", self.location, self.failures)
        self.failures, self.last_error, self._told, self.failed_since = 0, "", "", None
        self.last_success_at = self._wall()

    def failed(self, error: Exception) -> float:
        """It did not; the seconds to wait before the next attempt."""
        line = str(error)
        self.failures += 1
        self.last_error = line
        if self.failed_since is None:
            self.failed_since = self._wall()
        if line != self._told:
            self._told = line
            _LOG.warning("%s; tried again every %g to %g s", line, FIRST_RETRY_S, self._last_s)
        return self.delay_s()

    def delay_s(self) -> float:
        """0.5, 1, 2 ... 30 s or what was said instead, less up to half, so that servers do not ask in step."""
        ceiling = min(self._last_s, FIRST_RETRY_S * 2.0 ** min(self.failures, 10))
        return max(FIRST_RETRY_S, ceiling * self._random.uniform(0.5, 1.0))

    def warn(self, message: str) -> None:
        """Log a warning, and keep it for the status."""
        if message in self.warnings:
            return
        _LOG.warning("%s", message)
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(message)

    def set_cautions(self, found: tuple[str, ...]) -> None:
        """What Redis' settings could lose, as they are now; what was mended is told no more."""
        self.warnings = [each for each in self.warnings if each not in self._cautions or each in found]
        for each in found:
            self.warn(each)
        self._cautions = found

    _cautions: tuple[str, ...] = ()
