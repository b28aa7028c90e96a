"""The connection to a server: the client SDK, opened as a context says."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message

from scheduler_server.client import AsyncSchedulerClient, SchedulerClient, SchedulerError, error_from_call
from scheduler_server.credentials import CredentialError, TokenFile, tls
from scheduler_server.schedctl.contexts import Context, Place
from scheduler_server.schedctl.fault import Asked

_LOOPBACK = ("127.", "localhost", "[::1]", "unix:", "unix-abstract:")


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
                left -= sum(len(value) for _, value in page.ListFields() if _is_list(value))
            if not page.next_page_token or left == 0:
                return
            request.page_token = page.next_page_token

    def stream(self, method: str, request: Message) -> "Stream":
        """A streaming method of AdminService."""
        return Stream(getattr(self.client.admin, method)(request, metadata=self.client.metadata()))

    def close(self) -> None:
        """End it."""
        self.client.close()


def _is_list(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)


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


def open_async(place: Place, *, retries: bool = True) -> AsyncSchedulerClient:
    """A client for the running loop, opened as a context says. Without `retries` each failure is seen."""
    context = place.context
    options = [*_options(context), *([] if retries else [("grpc.enable_retries", 0)])]
    return AsyncSchedulerClient(
        context.server, credentials=_credentials(context), token=_token(context), options=options
    )


def _credentials(context: Context) -> grpc.ChannelCredentials | None:
    if not context.secure:
        return None
    try:
        return tls(context.ca_file or None, context.cert_file or None, context.key_file or None)
    except CredentialError as error:
        raise Asked(str(error)) from None


def _options(context: Context) -> list[tuple[str, Any]]:
    return [("grpc.ssl_target_name_override", context.tls_name)] if context.tls_name else []


def _token(context: Context) -> Callable[[], str] | None:
    if not context.token_file:
        return None
    if not context.secure and not context.server.startswith(_LOOPBACK):
        raise Asked(f"a token for {context.server} would be readable on its way: it needs --tls")
    file = TokenFile(context.token_file)

    def read() -> str:
        try:
            return file()
        except CredentialError as error:
            raise Asked(str(error)) from None

    read()
    return read


__all__ = ["Connection", "SchedulerError", "Stream", "open_async"]
