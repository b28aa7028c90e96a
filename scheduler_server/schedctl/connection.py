"""The connection to a server: the client SDK, opened as a context says."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from scheduler_server.client import SchedulerClient, SchedulerError, error_from_call
from scheduler_server.schedctl.contexts import Context, Place
from scheduler_server.schedctl.fault import Asked

_LOOPBACK = ("127.", "localhost", "[::1]", "unix:", "unix-abstract:")
_LONGEST_TOKEN = 64 * 1024


class Connection:
    """Asks one server. Every method raises `SchedulerError`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        context = place.context
        self.client = SchedulerClient(
            context.server, credentials=_credentials(context), token=_token(context), options=_options(context)
        )

    def ask(self, method: str, request: Message, *, timeout_s: float | None = None) -> Any:
        """A unary method of AdminService."""
        found = getattr(self.client.admin, method)
        return self.client.call(found, request, timeout=timeout_s or self.place.timeout_s)

    def pages(self, method: str, request: Any, *, limit: int | None = None, size: int = 1_000) -> Iterator[Any]:
        """The pages of a listing, as many as `limit` entries need; None: all."""
        left = limit
        while True:
            request.page_size = size if left is None else min(left, size)
            page = self.ask(method, request)
            yield page
            if left is not None:
                entries = page.ListFields()[0][1] if page.ListFields() else ()
                left -= len(entries) if not isinstance(entries, str) else 0
            if not page.next_page_token or left == 0:
                return
            request.page_token = page.next_page_token

    def stream(self, method: str, request: Message) -> "Stream":
        """A streaming method of AdminService."""
        return Stream(getattr(self.client.admin, method)(request, metadata=self.client.metadata()))

    def close(self) -> None:
        """End it."""
        self.client.close()


class Stream:
    """Messages as they come. `end` may be called from another thread."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._call
        except grpc.RpcError as error:
            raise error_from_call(error) from error

    def end(self) -> None:
        """Ask for no more."""
        self._call.cancel()


def _credentials(context: Context) -> grpc.ChannelCredentials | None:
    if not context.secure:
        return None
    read = {name: _bytes(getattr(context, name)) for name in ("ca_file", "key_file", "cert_file")}
    return grpc.ssl_channel_credentials(read["ca_file"], read["key_file"], read["cert_file"])


def _options(context: Context) -> list[tuple[str, Any]]:
    return [("grpc.ssl_target_name_override", context.tls_name)] if context.tls_name else []


def _token(context: Context) -> Callable[[], str] | None:
    if not context.token_file:
        return None
    if not context.secure and not context.server.startswith(_LOOPBACK):
        raise Asked(f"a token for {context.server} would be readable on its way: it needs --tls")

    def read() -> str:
        token = _bytes(context.token_file) or b""
        try:
            said = token.decode("ascii").strip()
        except UnicodeDecodeError:
            said = ""
        if not said or not said.isprintable() or len(said) > _LONGEST_TOKEN:
            raise Asked(f"{context.token_file}: holds no token")
        return said

    read()
    return read


def _bytes(file: str) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise Asked(f"{file}: cannot be read: {error.strerror}") from None


__all__ = ["Connection", "SchedulerError", "Stream"]
