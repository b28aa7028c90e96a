"""What is in files that change while the server runs."""

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from scheduler_server.access.secret_file import FileError

_LOG = logging.getLogger(__name__)

Value = TypeVar("Value")


class Rotation(Generic[Value]):
    """The last value that was right.

    `look` is for a thread, one at a time: it reads files. Others may read `value`, `revision` and `fault` meanwhile:
    each is set by one assignment, `revision` last.
    """

    def __init__(self, name: str, versions: Callable[[], Any], load: Callable[[], Value]) -> None:
        """Load for the first time. Raises FileError."""
        self.name = name
        self._versions, self._load = versions, load
        self._seen = versions()
        self.value = load()
        self.revision = 1
        self.fault = ""  # why what is in the files now is not used; "": it is

    def look(self) -> bool:
        """Take what the files hold now, if that is another thing and right; whether it was taken."""
        try:
            seen = self._versions()
            if seen == self._seen and not self.fault:
                return False
            value = self._load()
        except FileError as error:
            if str(error) != self.fault:
                _LOG.error("%s: what was there before stays in use: %s", self.name, error)
            self.fault = str(error)
            return False
        self._seen = seen
        self.value = value
        self.fault = ""
        self.revision += 1
        _LOG.info("%s: read again, as it has changed", self.name)
        return True
