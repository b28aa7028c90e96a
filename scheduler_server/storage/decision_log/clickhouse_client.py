"""One connection to ClickHouse through clickhouse-driver, and what its failures mean for the log."""

import contextlib
import logging
import re
import struct
import time
from collections.abc import Sequence
from typing import Any

from clickhouse_driver import Client
from clickhouse_driver import defines as driver_defines
from clickhouse_driver import errors as driver_errors

from scheduler_server.storage.decision_log.clickhouse_url import ClickHouseAddress
from scheduler_server.storage.decision_log.port import LogError, LogFault

_BREATH_S = 2e-5  # between blocks: asleep, a thread cannot take the interpreter lock back before the loop had it
_BLOCK_ROWS = 128
"""Rows encoded at a stretch, in Python and under its lock: a millisecond for decisions. The server makes one part of
them all the same. Where nobody waits for the lock, a batch goes in one."""

_BLOCK_ROWS_ALONE = 65_536

_REVISION = driver_defines.DBMS_MIN_REVISION_WITH_PARALLEL_REPLICAS
"""Newer revisions answer every block with its profile, and the driver waits for that: a round trip per block."""

_DRIVER_LOG = logging.getLogger("clickhouse_driver")
"""Warns with a traceback at every attempt to connect; every failure is told by whoever asked, once."""

_UNKNOWN_DATABASE = 81
_FAULTS = {
    driver_errors.ErrorCodes.NOT_ENOUGH_SPACE: LogFault.DISK_FULL,
    driver_errors.ErrorCodes.TIMEOUT_EXCEEDED: LogFault.TOO_SLOW,
    driver_errors.ErrorCodes.SOCKET_TIMEOUT: LogFault.TOO_SLOW,
}
_NO_SPACE = "No space left on device"
"""Of the operating system, in errors of several codes: 243 is only what could not be reserved before writing."""

_UNSUITABLE = (TypeError, AttributeError, OverflowError, UnicodeError, struct.error, driver_errors.TypeMismatchError)
_NAME = re.compile(r"\(([A-Z_0-9]+)\)")
_LONGEST = 300  # characters of what the server says: its messages may repeat a statement


class Connection:
    """Connects when it is first used, and again after each failure."""

    def __init__(
        self, address: ClickHouseAddress, *, timeout_s: float, connect_timeout_s: float, alone: bool = True
    ) -> None:
        self._breath_s, self._block_rows = (0.0, _BLOCK_ROWS_ALONE) if alone else (_BREATH_S, _BLOCK_ROWS)
        self._address = address
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._client: Any = None

    def ask(self, sql: str, values: Sequence[Any] = (), settings: dict[str, Any] | None = None) -> list[Any]:
        """Run a statement with `?` for values; its rows. Raises LogError."""
        names = [f"p{at}" for at in range(len(values))]
        parts = sql.split("?")
        if len(parts) != len(values) + 1:
            raise ValueError(f"{len(values)} values for {len(parts) - 1} placeholders: {sql}")
        query = parts[0] + "".join(f"%({name})s{part}" for name, part in zip(names, parts[1:], strict=True))
        params = dict(zip(names, values, strict=True)) if values else None
        found: list[Any] = self._run(query if values else sql, params, {**(settings or {})})
        return found

    def insert(self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]], token: str) -> None:
        """Insert rows once, however often it is asked for with this token ("": every time). Raises LogError."""
        data = []
        for at in range(len(columns)):
            data.append([row[at] for row in rows])
            self._breathe()
        once = {
            "insert_deduplicate": 1,
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "async_insert": 0,  # answered when it is stored, not when it is queued
        }
        settings: dict[str, Any] = once if token else {}
        self._run(f"INSERT INTO {table} ({', '.join(columns)}) VALUES", data, settings, columnar=True)

    def _run(self, sql: str, params: Any, settings: dict[str, Any], **options: Any) -> Any:
        try:
            if self._client is None:
                self._client = self._connected()
            return self._client.execute(sql, params, settings=settings, **options)
        except Exception as error:  # noqa: BLE001 -- the driver raises of many kinds; each is told in the log's words
            self.close()
            raise self._error(error) from None

    def _connected(self) -> Any:
        client = self._made(self._address.database)
        try:
            client.execute("SELECT 1")
        except driver_errors.ServerException as error:
            client.disconnect()
            if error.code != _UNKNOWN_DATABASE:
                raise
            with contextlib.closing(_Closing(self._made(""))) as making:
                making.client.execute(f"CREATE DATABASE IF NOT EXISTS `{self._address.database}`")
        return client

    def _made(self, database: str) -> Any:
        _DRIVER_LOG.setLevel(logging.ERROR)
        address = self._address
        (host, port), *others = address.hosts
        client = Client(
            host,
            port,
            database=database,
            user=address.user,
            password=address.password,
            client_name="scheduler-server",
            connect_timeout=self._connect_timeout_s,
            send_receive_timeout=self._timeout_s,
            sync_request_timeout=self._connect_timeout_s,
            secure=address.tls,
            verify=address.verify,
            ca_certs=address.ca_certs or None,
            alt_hosts=",".join(f"{name}:{number}" for name, number in others) or None,
            client_revision=_REVISION,
            settings={"insert_block_size": self._block_rows},
        )
        send = client.connection.send_data

        def send_and_breathe(*given: Any, **named: Any) -> None:
            send(*given, **named)
            self._breathe()

        client.connection.send_data = send_and_breathe
        return client

    def _breathe(self) -> None:
        if self._breath_s:
            time.sleep(self._breath_s)

    def _error(self, error: Exception) -> LogError:
        what = f"decision log {self._address.shown}: "
        if isinstance(error, LogError):
            return error
        if isinstance(error, driver_errors.ServerException):
            said = " ".join(str(error.message).split(" Stack trace")[0].replace("DB::Exception: ", "").split())
            fault = LogFault.DISK_FULL if _NO_SPACE in said else _FAULTS.get(error.code, LogFault.REFUSED)
            how = "has no room left" if fault is LogFault.DISK_FULL else "refused"
            return LogError(fault, f"{what}{how}: {said[:_LONGEST]} (code {error.code})")
        if isinstance(error, TimeoutError | driver_errors.SocketTimeoutError):
            return LogError(LogFault.TOO_SLOW, f"{what}did not answer in time")
        if isinstance(error, OSError | EOFError | driver_errors.NetworkError):
            why = " ".join(str(error).split()) or "the connection was closed"
            return LogError(LogFault.UNREACHABLE, f"{what}cannot be reached: {why[:_LONGEST]}")
        if isinstance(error, _UNSUITABLE):
            return LogError(LogFault.UNSUITABLE_ROW, f"{what}cannot take a value: {str(error)[:_LONGEST]}")
        return LogError(LogFault.IO, f"{what}failed: {type(error).__name__}: {str(error)[:_LONGEST]}")

    def close(self) -> None:
        """Disconnect. A second call does nothing."""
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(Exception):
                client.disconnect()


class _Closing:
    def __init__(self, client: Any) -> None:
        self.client = client

    def close(self) -> None:
        self.client.disconnect()
