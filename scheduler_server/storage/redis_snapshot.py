"""Snapshots in Redis: the bytes of the file, cut into chunks, and a pointer that is switched in one step."""

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from redis.exceptions import ResponseError

from scheduler_server.storage.redis_connect import FAILURES, Client, connect
from scheduler_server.storage.redis_errors import explain
from scheduler_server.storage.redis_health import cautions
from scheduler_server.storage.redis_keys import DAMAGED_FOR_S, UNFINISHED_FOR_S, Keys, Switch
from scheduler_server.storage.redis_manifest import Manifest, chunks_named, proof_of, read_manifest, write_manifest
from scheduler_server.storage.redis_url import MASK, RedisAddress
from scheduler_server.storage.snapshot_frame import (
    Damaged,
    Header,
    NewerVersion,
    Unframer,
    framed,
    header_line,
    trailer_line,
)
from scheduler_server.storage.snapshot_store import Edition, SnapshotContent, SnapshotError

CHUNK_BYTES = 256 * 1024
"""Of one value: far below what stalls Redis or a slow link (20 ms at 100 Mbit/s), far above a packet."""

_ATTEMPTS = 5
"""At a switch or a read that another server got in the way of; each of its own lasts a minute."""


class RedisSnapshots:
    """A store under one prefix of one Redis. Connects for each edition anew: between two lies a minute.

    Several servers may share a prefix by mistake, or for a moment while one replaces the other. Then the last one to
    write wins, whole, and each is told of the other. Used by one thread at a time.
    """

    backend = "redis"

    def __init__(
        self,
        address: RedisAddress,
        *,
        prefix: str,
        format: str,  # noqa: A002 -- the header's word
        version: int,
        timeout_s: float,
        server: str,
        connect: Callable[[RedisAddress, float], Client] = connect,
    ) -> None:
        self.keys = Keys(prefix)
        self.location = f"{address.shown} {self.keys.newest}"
        self._address = address
        self._format = format
        self._version = version
        self._timeout_s = timeout_s
        self._server = server
        self._connect = connect
        self._keep = True  # what nobody has read
        self._last: str | None = None  # the generation that this server read or wrote last

    # ------------------------------------------------------------------ read

    def read(self) -> SnapshotContent:
        """The newest usable generation. Raises SnapshotError."""
        with self._client("read") as client:
            for _ in range(_ATTEMPTS):
                content = self._read(client)
                if content is not None:
                    self._keep = False
                    return content
        raise SnapshotError(f"snapshot {self.location}: cannot be read: another server writes it again and again")

    def _read(self, client: Client) -> SnapshotContent | None:
        """None: it was replaced while it was being read."""
        pointers = {name: client.get(name) for name in (self.keys.newest, self.keys.previous)}
        warnings = list(cautions(client, self.location))
        aside: list[str] = []
        content = None
        for name, pointer in pointers.items():
            if pointer is None:
                continue
            try:
                manifest = read_manifest(pointer, self._format, self._version)
                header, records = self._load(client, manifest)
            except NewerVersion as newer:
                known = f"this server knows up to {self._version}"
                warnings.append(f"snapshot {self._at(name)}: has version {newer.version}, {known}; left as it is")
            except Damaged as damage:
                if client.get(name) != pointer:
                    return None
                aside.append(name)
                warnings.append(f"snapshot {self._at(name)}: is damaged: {damage}; set aside as {self.keys.damaged}")
            else:
                self._last = manifest.generation
                if name == self.keys.previous:
                    warnings.append(f"snapshot {self._at(name)}: the previous edition is used")
                content = SnapshotContent(
                    records=records,
                    created_at=float(header.created_at),
                    version=header.version,
                    warnings=(),
                    size_bytes=manifest.size_bytes,
                )
                break
        if aside and not self._set_aside(client, pointers, aside):
            return None
        warnings += self._kept(client)
        if content is None:
            if any(pointers.values()):
                warnings.append(f"snapshot {self.location}: starting without it")
            return SnapshotContent(records=[], created_at=None, version=None, warnings=tuple(warnings))
        return SnapshotContent(
            records=content.records,
            created_at=content.created_at,
            version=content.version,
            warnings=tuple(warnings),
            size_bytes=content.size_bytes,
        )

    def _load(self, client: Client, manifest: Manifest) -> tuple[Header, list[bytes]]:
        reading = Unframer(self._format, self._version)
        for number, proof in enumerate(manifest.proofs):
            chunk = client.get(self.keys.chunk(manifest.generation, number))
            if chunk is None:
                raise Damaged(f"chunk {number + 1} of {manifest.chunks} is missing")
            if proof_of(chunk) != proof:
                raise Damaged(f"the checksum of chunk {number + 1} of {manifest.chunks} does not fit")
            reading.feed(chunk)
        return reading.finish()

    def _set_aside(self, client: Client, pointers: dict[str, bytes | None], names: list[str]) -> bool:
        """Where Redis takes no writes now, it stays: it is found damaged again, and told again."""
        switch = Switch(self.keys, pointers[self.keys.newest], pointers[self.keys.previous])
        for name in names:
            self._to_damaged(switch, name, pointers[name] or b"")
        try:
            return switch.run(client) == "done"
        except FAILURES:
            return True

    def _kept(self, client: Client) -> Iterator[str]:
        with contextlib.suppress(Damaged, NewerVersion):
            if pointer := client.get(self.keys.kept):
                manifest = read_manifest(pointer, self._format, self._version)
                yield (
                    f"snapshot {self._at(self.keys.kept)}: {manifest.records} records that no server took over are "
                    f"kept there; to use them, stop the server and rename the key to {self.keys.newest}; or delete it"
                )

    # ------------------------------------------------------------------ write

    def keep(self) -> None:
        """What stands there was not taken over: the next edition moves it to the kept pointer."""
        self._keep = True

    def begin(self, *, created_at: float) -> "RedisSession":
        """Start a generation. `created_at` in s since 1970. Does no I/O yet."""
        return RedisSession(self, Header(format=self._format, version=self._version, created_at=created_at))

    def switch(self, client: Client, manifest: Manifest) -> tuple[tuple[str, ...], str]:
        """Make a generation whose chunks are written the newest; notes, and who else writes here."""
        for _ in range(_ATTEMPTS):
            newest, previous, kept = (
                client.get(name) for name in (self.keys.newest, self.keys.previous, self.keys.kept)
            )
            switch = Switch(self.keys, newest, previous)
            switch.each("persist", self.keys.chunks((manifest.generation, manifest.chunks)))
            notes, rival = self._make_room(client, switch, newest, previous, kept)
            switch.put(self.keys.newest, write_manifest(manifest))
            done = switch.run(client)
            if done == "done":
                self._keep, self._last = False, manifest.generation
                return notes, rival
            if done == "missing":
                raise SnapshotError(
                    f"snapshot {self.location}: a chunk is gone before all were written: Redis removes keys "
                    "(maxmemory-policy), or somebody does"
                )
        raise SnapshotError(f"snapshot {self.location}: other servers write here again and again")

    def _make_room(
        self, client: Client, switch: Switch, newest: bytes | None, previous: bytes | None, kept: bytes | None
    ) -> tuple[tuple[str, ...], str]:
        """Move the newest to where it belongs: behind ours, or beside it."""
        if newest is None:
            return (), ""
        try:
            manifest = read_manifest(newest, self._format, self._version)
        except NewerVersion as newer:
            to = self._to_version(client, switch, self.keys.newest, newer.version)
            return (f"snapshot {self.location}: is of version {newer.version}; kept as {to}",), ""
        except Damaged:
            self._to_damaged(switch, self.keys.newest, newest)
            return (), ""
        if self._keep and self._records(kept) <= manifest.records:
            self._drop(switch, kept)
            switch.rename(self.keys.newest, self.keys.kept)
            note = (
                f"{manifest.records} records stood there that this server did not take over; kept as {self.keys.kept}"
            )
            return (f"snapshot {self.location}: {note}",), ""
        if previous is not None:
            self._drop_previous(client, switch, previous)
        switch.rename(self.keys.newest, self.keys.previous)
        # One of our own may be unknown to us: Redis took it, and its answer was lost.
        if self._keep or manifest.generation == self._last or manifest.server == self._server:
            return (), ""
        rival = f"another server (incarnation {manifest.server}) writes snapshots under the same prefix"
        return (), f"{rival}; the last to write wins"

    def _drop_previous(self, client: Client, switch: Switch, previous: bytes) -> None:
        try:
            read_manifest(previous, self._format, self._version)
        except NewerVersion as newer:
            self._to_version(client, switch, self.keys.previous, newer.version, ".previous")
        except Damaged:
            self._to_damaged(switch, self.keys.previous, previous)
        else:
            self._drop(switch, previous)

    def _records(self, pointer: bytes | None) -> int:
        try:
            return read_manifest(pointer or b"", self._format, self._version).records
        except (Damaged, NewerVersion):
            return -1

    def _drop(self, switch: Switch, pointer: bytes | None) -> None:
        switch.each("unlink", self.keys.chunks(chunks_named(pointer or b"")))

    def _to_version(self, client: Client, switch: Switch, name: str, version: int, which: str = "") -> str:
        to = self.keys.of_version(version) + which
        self._drop(switch, client.get(to))
        switch.rename(name, to)
        return to

    def _to_damaged(self, switch: Switch, name: str, pointer: bytes) -> None:
        switch.rename(name, self.keys.damaged)
        switch.each("expire", [self.keys.damaged, *self.keys.chunks(chunks_named(pointer))], DAMAGED_FOR_S)

    # ------------------------------------------------------------------ shared

    def manifest(self, header: Header, generation: str, proofs: list[str], records: int, size_bytes: int) -> Manifest:
        """The manifest of a generation that this server wrote."""
        return Manifest(
            format=header.format,
            version=header.version,
            generation=generation,
            chunks=len(proofs),
            created_at=header.created_at,
            records=records,
            size_bytes=size_bytes,
            server=self._server,
            proofs=tuple(proofs),
        )

    def client(self) -> Client:
        """A connection of its own. Raises what `failure` explains."""
        return self._connect(self._address, self._timeout_s)

    def failure(self, what: str, error: BaseException) -> SnapshotError:
        """The one line for a failure."""
        line = f"snapshot {self.location}: cannot be {what}: {explain(error, self._address, self._timeout_s)}"
        for secret in (self._address.password, self._address.sentinel_password):
            line = line.replace(secret, MASK) if secret else line
        return SnapshotError(line)

    @contextlib.contextmanager
    def _client(self, what: str) -> Iterator[Client]:
        try:
            client = self.client()
            with contextlib.closing(client):
                yield client
        except FAILURES as error:
            raise self.failure(what, error) from None

    def _at(self, name: str) -> str:
        return f"{self._address.shown} {name}"


class RedisSession:
    """One generation being written: chunks first, with a life of an hour; the pointer when all are there.

    Not safe for two threads at once; each call may come from another thread than the one before.
    """

    def __init__(self, store: RedisSnapshots, header: Header) -> None:
        self._store = store
        self._header = header
        # Names sort by time for whoever looks; the random part keeps two servers apart.
        self._generation = f"{int(max(0.0, header.created_at) * 1_000):013d}-{secrets.token_hex(4)}"
        self._hash = hashlib.sha256()
        self._pending = bytearray(header_line(header))
        self._proofs: list[str] = []
        self._records = 0
        self._bytes = 0
        self._client: Any = None
        self._abandoned = False  # its chunks may be the newest generation's, or Redis cannot be told to drop them

    def append(self, records: Iterable[bytes]) -> None:
        """Add records of any bytes. Raises SnapshotError."""
        pieces = [framed(record) for record in records]
        self._records += len(pieces)
        self._pending += b"".join(pieces)
        with self._failures():
            while len(self._pending) >= CHUNK_BYTES:
                self._send(CHUNK_BYTES)

    def commit(self) -> Edition:
        """Write what is left, and switch the pointer. Raises SnapshotError."""
        with self._failures():
            self._hash.update(self._pending)  # of what is sent below, before the trailer that holds it
            self._pending += trailer_line(self._records, self._hash.hexdigest())
            while self._pending:
                self._send(CHUNK_BYTES, hashed=True)
            manifest = self._store.manifest(self._header, self._generation, self._proofs, self._records, self._bytes)
            self._abandoned = True
            notes, rival = self._store.switch(self._client, manifest)
            self._close()
        return Edition(records=self._records, size_bytes=self._bytes, notes=notes, rival=rival)

    def abort(self) -> None:
        """Give up: its chunks go now, or in an hour if Redis cannot be told."""
        if self._client is None:
            return
        keys = self._store.keys.chunks((self._generation, len(self._proofs)))
        with contextlib.suppress(*FAILURES):
            if keys and not self._abandoned:
                self._client.unlink(*keys)
        self._close()

    def _send(self, size: int, *, hashed: bool = False) -> None:
        chunk = bytes(self._pending[:size])
        del self._pending[:size]
        if not hashed:
            self._hash.update(chunk)
        if self._client is None:
            self._client = self._store.client()
        key = self._store.keys.chunk(self._generation, len(self._proofs))
        self._proofs.append(proof_of(chunk))
        self._client.set(key, chunk, ex=UNFINISHED_FOR_S)
        self._bytes += len(chunk)

    def _close(self) -> None:
        client, self._client = self._client, None
        with contextlib.suppress(*FAILURES):
            client.close()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self._abandoned = self._abandoned or not isinstance(error, ResponseError)
            raise self._store.failure("written", error) from None
