"""A native-TCP front before chdb: `python clickhouse_front.py FOLDER` in the environment that has chdb.

chdb is the engine of ClickHouse in process; it has no server. This lets an unmodified clickhouse-driver talk to it.
What is real: parser, types, MergeTree, partitions, TTL, deduplication, materialized views, errors and their codes. What
is not: the server's own network code, users and rights, concurrency (one statement at a time). Of rights there is one:
the user `no_ddl` is refused what makes or changes tables, in the words and with the code of ClickHouse. The codecs are
those of clickhouse-driver, so they prove nothing of the wire: one test does, against a server that is not ours.

Prints the port it listens on, one line. Data stay in FOLDER, so it can be killed and started again.
"""

import re
import socket
import sys
import tempfile
import threading
from types import SimpleNamespace
from typing import Any

from chdb.session import Session  # type: ignore[import-not-found]  # lives in an environment of its own
from clickhouse_driver import defines
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.bufferedreader import BufferedSocketReader, CompressedBufferedReader
from clickhouse_driver.bufferedwriter import BufferedSocketWriter, CompressedBufferedWriter
from clickhouse_driver.context import Context
from clickhouse_driver.protocol import ClientPacketTypes, ServerPacketTypes
from clickhouse_driver.reader import read_binary_str, read_binary_uint8
from clickhouse_driver.streams.native import BlockInputStream, BlockOutputStream
from clickhouse_driver.varint import read_varint, write_varint
from clickhouse_driver.writer import write_binary_int32, write_binary_str, write_binary_uint8

REVISION = defines.DBMS_MIN_REVISION_WITH_SETTINGS_SERIALIZED_AS_STRINGS
"""What this front speaks: the newest revision before each change brings fields that no test needs."""

_BUFFER = 1 << 20
_CODE = re.compile(r"Code: (\d+)\. ?(.*)", re.DOTALL)
_DDL = re.compile(r"\s*(CREATE|ALTER|DROP|RENAME|TRUNCATE|ATTACH|DETACH)\s+(\w+)", re.IGNORECASE)
WITHOUT_DDL = "no_ddl"
_ACCESS_DENIED = 497
_INSERT = re.compile(r"\s*INSERT\s+INTO\s+(?:TABLE\s+)?([\w.`]+)\s*(\([^)]*\))?\s*VALUES\s*$", re.IGNORECASE)


class Refused(Exception):
    """The engine said no."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class Engine:
    """One chdb session, one statement at a time."""

    def __init__(self, folder: str) -> None:
        self._session = Session(folder)
        self._lock = threading.Lock()
        self._used = ""  # the database that the session stands in: telling it again costs as much as a statement
        version = self._text("SELECT version()")
        self.version = [int(part) for part in version.split(".")[:3]]

    def _text(self, sql: str) -> str:
        text: str = self._session.query(sql, "TSVRaw").bytes().decode().strip()
        return text

    def enter(self, database: str) -> None:
        """Is there such a database? As a server asks itself when somebody connects."""
        self._run(database, lambda: self._session.query("SELECT 1"), anew=True)

    def rows(self, sql: str, database: str) -> list[Any]:
        """The blocks that a statement answers with."""
        return _blocks_of(self._run(database, lambda: self._session.query(sql, "Native").bytes()))

    def insert(
        self, table: str, shape: list[tuple[str, str]], settings: dict[str, str], database: str, native: list[bytes]
    ) -> None:
        """Insert blocks that are encoded as FORMAT Native; the engine squashes them, as a server does.

        By way of a file: chdb's streaming insert says nothing of a row that the table refuses.
        """
        columns = ", ".join(name for name, _ in shape)
        structure = ", ".join(f"{name} {type_}" for name, type_ in shape)
        given = {**settings, "max_threads": "1", "max_insert_threads": "1"}
        words = ", ".join(f"{name} = {_quoted(value)}" for name, value in given.items())
        with tempfile.NamedTemporaryFile(suffix=".native") as file:
            for block in native:
                file.write(block)
            file.flush()
            source = f"file({_quoted(file.name)}, Native, {_quoted(structure)})"
            sql = f"INSERT INTO {table} ({columns}) SETTINGS {words} SELECT {columns} FROM {source}"  # noqa: S608 -- a server
            self._run(database, lambda: self._session.query(sql))

    def _run(self, database: str, what: Any, *, anew: bool = False) -> Any:
        with self._lock:
            try:
                if database and (anew or database != self._used):
                    self._session.query(f"USE `{database}`")
                    self._used = database
                return what()
            except RuntimeError as error:
                self._used = ""  # it may have gone
                found = _CODE.search(str(error))
                code, message = (int(found[1]), found[2]) if found else (1000, str(error))
                raise Refused(code, message) from None


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _context(revision: int) -> Context:
    context = Context()
    context.server_info = SimpleNamespace(used_revision=revision, get_timezone=lambda: "UTC")
    context.settings = {}
    context.client_settings = {
        "strings_as_bytes": False, "strings_encoding": "utf-8", "use_numpy": False,
        "input_format_null_as_default": False, "namedtuple_as_json": True, "server_side_params": False,
    }  # fmt: skip
    return context


def _blocks_of(native: bytes) -> list[Any]:
    """FORMAT Native read; it has no packets and no block info, which is revision 0."""
    blocks: list[Any] = []
    pieces = iter([native])
    reader = CompressedBufferedReader(lambda: next(pieces, b""), len(native) or 1)
    stream = BlockInputStream(reader, _context(0))
    while True:
        try:
            blocks.append(stream.read())
        except EOFError:
            return blocks


def _native(block: Any) -> bytes:
    written: list[bytes] = []
    writer = CompressedBufferedWriter(SimpleNamespace(write=written.append), _BUFFER)
    stream = BlockOutputStream(writer, _context(0))
    stream.write(ColumnOrientedBlock(block.columns_with_types, [list(column) for column in block.data]))
    return b"".join(bytes(piece) for piece in written)


class Connection:
    """One client."""

    def __init__(self, engine: Engine, sock: socket.socket) -> None:
        self._engine = engine
        self._in = BufferedSocketReader(sock, _BUFFER)
        self._out = BufferedSocketWriter(sock, _BUFFER)
        self._blocks_in = BlockInputStream(self._in, _context(REVISION))
        self._blocks_out = BlockOutputStream(self._out, _context(REVISION))
        self._database = self._user = ""

    def serve(self) -> None:
        """Until the client goes."""
        if not self._hello():
            return
        while True:
            kind = read_varint(self._in)
            if kind == ClientPacketTypes.PING:
                write_varint(ServerPacketTypes.PONG, self._out)
                self._out.flush()
            elif kind == ClientPacketTypes.QUERY:
                self._query()
            elif kind != ClientPacketTypes.CANCEL:  # a cancel that comes after the answer means nothing
                raise EOFError(f"packet {kind}")

    def _hello(self) -> bool:
        if read_varint(self._in) != ClientPacketTypes.HELLO:
            raise EOFError("no hello")
        read_binary_str(self._in)
        for _ in range(3):
            read_varint(self._in)
        self._database = read_binary_str(self._in)
        self._user = read_binary_str(self._in)
        read_binary_str(self._in)
        try:
            self._engine.enter(self._database)
        except Refused as error:
            self._exception(error)
            return False
        write_varint(ServerPacketTypes.HELLO, self._out)
        write_binary_str("ClickHouse", self._out)
        major, minor, patch = self._engine.version
        write_varint(major, self._out)
        write_varint(minor, self._out)
        write_varint(REVISION, self._out)
        write_binary_str("UTC", self._out)
        write_binary_str("chdb behind a test front", self._out)
        write_varint(patch, self._out)
        self._out.flush()
        return True

    def _query(self) -> None:
        read_binary_str(self._in)  # query id
        self._client_info()
        settings: dict[str, str] = {}
        while name := read_binary_str(self._in):
            read_binary_uint8(self._in)
            settings[name] = read_binary_str(self._in)
        read_varint(self._in)  # stage
        if read_varint(self._in):
            raise EOFError("this front does not compress")
        sql = read_binary_str(self._in)
        self._data()  # the end of external tables
        try:
            self._refuse_without_right(sql)
            found = _INSERT.match(sql)
            if found:
                self._insert(found[1], found[2] or "", settings)
            else:
                for block in self._engine.rows(sql, self._database):
                    if block.num_rows:
                        self._send(block)
                    else:
                        self._send_shape(block.columns_with_types)
        except Refused as error:
            self._exception(error)
            return
        write_varint(ServerPacketTypes.END_OF_STREAM, self._out)
        self._out.flush()

    def _refuse_without_right(self, sql: str) -> None:
        found = _DDL.match(sql) if self._user == WITHOUT_DDL else None
        if found:
            grant = f"{found[1].upper()} {found[2].upper()} ON {self._database}.*"
            needed = f"To execute this query, it's necessary to have the grant {grant}. (ACCESS_DENIED)"
            raise Refused(_ACCESS_DENIED, f"{self._user}: Not enough privileges. {needed}")

    def _insert(self, table: str, columns: str, settings: dict[str, str]) -> None:
        wanted = [name.strip(" `") for name in columns.strip("()").split(",") if name.strip()]
        known: dict[str, str] = {}
        for block in self._engine.rows(f"DESCRIBE TABLE {table}", self._database):
            known.update(zip(block.data[0], block.data[1], strict=True))
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise Refused(16, f"No such column {unknown[0]} in table {table}")
        shape = [(name, known[name]) for name in wanted or known]
        self._send_shape(shape)
        blocks = []
        while (block := self._data()).num_rows:
            blocks.append(_native(block))
        if blocks:
            self._engine.insert(table, shape, settings, self._database, blocks)

    def _client_info(self) -> None:
        read_binary_uint8(self._in)
        for _ in range(3):
            read_binary_str(self._in)
        read_binary_uint8(self._in)
        for _ in range(3):
            read_binary_str(self._in)
        for _ in range(3):
            read_varint(self._in)
        read_binary_str(self._in)  # quota key
        read_varint(self._in)  # patch

    def _data(self) -> Any:
        if read_varint(self._in) != ClientPacketTypes.DATA:
            raise EOFError("no data")
        read_binary_str(self._in)
        return self._blocks_in.read()

    def _send(self, block: Any) -> None:
        write_varint(ServerPacketTypes.DATA, self._out)
        write_binary_str("", self._out)
        data = [list(column) for column in block.data]
        self._blocks_out.write(ColumnOrientedBlock(block.columns_with_types, data))
        self._out.flush()

    def _send_shape(self, shape: list[tuple[str, str]]) -> None:
        """A block without rows. The codec would write the columns' prefixes, which nobody reads when there are none."""
        write_varint(ServerPacketTypes.DATA, self._out)
        write_binary_str("", self._out)
        BlockInfo().write(self._out)
        write_varint(len(shape), self._out)
        write_varint(0, self._out)
        for name, type_ in shape:
            write_binary_str(name, self._out)
            write_binary_str(type_, self._out)
        self._out.flush()

    def _exception(self, error: Refused) -> None:
        write_varint(ServerPacketTypes.EXCEPTION, self._out)
        write_binary_int32(error.code, self._out)
        write_binary_str("DB::Exception", self._out)
        write_binary_str(f"DB::Exception: {error}", self._out)
        write_binary_str("", self._out)
        write_binary_uint8(0, self._out)
        self._out.flush()


def _serve(engine: Engine, sock: socket.socket) -> None:
    with sock:
        try:
            Connection(engine, sock).serve()
        except (EOFError, OSError) as error:  # the client went, or says what this front does not understand
            print(f"closed: {error!r}", file=sys.stderr, flush=True)  # noqa: T201 -- for whoever looks into the log


def main() -> None:
    """Listen until killed."""
    engine = Engine(sys.argv[1])
    with socket.create_server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0)) as listening:
        print(listening.getsockname()[1], flush=True)  # noqa: T201 -- how the test learns of it
        while True:
            sock, _ = listening.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the real one: else 40 ms for an answer
            threading.Thread(target=_serve, args=(engine, sock), daemon=True).start()


if __name__ == "__main__":
    main()
