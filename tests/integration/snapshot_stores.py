"""Both kinds of snapshot store behind one set of hands, so that one suite holds both to one promise."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from scheduler_server.storage import Edition, RedisSnapshots, SnapshotFile, SnapshotStore, parse
from tests.redis_server import RedisServer

FORMAT = "test"


class Place(Protocol):
    """Where snapshots lie, and how a test does harm there."""

    def store(self, version: int = 3, server: str = "one") -> SnapshotStore: ...

    def copy(self) -> dict[str, bytes]: ...

    def put(self, content: dict[str, bytes]) -> None: ...

    def newest(self) -> list[str]: ...

    def keys(self) -> list[str]: ...


def write(store: SnapshotStore, *records: bytes, at: float = 1.0) -> Edition:
    """One edition."""
    session = store.begin(created_at=at)
    session.append(records)
    return session.commit()


class FilePlace:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self, version: int = 3, server: str = "one") -> SnapshotStore:
        return SnapshotFile(self._folder / "snapshot", format=FORMAT, version=version)

    def copy(self) -> dict[str, bytes]:
        return {found.name: found.read_bytes() for found in self._folder.iterdir()}

    def put(self, content: dict[str, bytes]) -> None:
        for found in list(self._folder.iterdir()):
            found.unlink()
        for name, data in content.items():
            (self._folder / name).write_bytes(data)

    def newest(self) -> list[str]:
        return ["snapshot"]

    def keys(self) -> list[str]:
        return sorted(self.copy())


class RedisPlace:
    """A prefix of a Redis. `newest` are the pointer and the chunks of the newest edition."""

    def __init__(self, server: RedisServer) -> None:
        self.client: Any = server.client()
        self._address = parse(server.unix_url)

    def store(self, version: int = 3, server: str = "one") -> SnapshotStore:
        about: dict[str, Any] = {"format": FORMAT, "version": version, "server": server}
        return RedisSnapshots(self._address, prefix="p", timeout_s=5.0, **about)

    def copy(self) -> dict[str, bytes]:
        return {name.decode(): self.client.get(name) for name in self.client.keys("*")}

    def put(self, content: dict[str, bytes]) -> None:
        if keys := self.client.keys("*"):
            self.client.delete(*keys)
        for name, data in content.items():
            self.client.set(name, data)

    def newest(self) -> list[str]:
        pointer = self.client.get("{p}:snapshot").decode()
        return ["{p}:snapshot", *(key for key in self.keys() if ":snapshot:" in key and key.split(":")[2] in pointer)]

    def keys(self) -> list[str]:
        return sorted(self.copy())


@contextmanager
def harm(place: Place, seed: int) -> Iterator[random.Random]:
    """Where to do harm, by a seed that the failure names; what was there is there again afterwards."""
    whole = place.copy()
    try:
        yield random.Random(seed)
    finally:
        place.put(whole)
