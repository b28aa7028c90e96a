"""The hosts of a URL, as every store's URL names them: `host`, `host:port`, `[::1]:port`, `::1`."""

from urllib.parse import unquote

_MAX_PORT = 65_535


def host_and_port(text: str, default_port: int, error: type[ValueError]) -> tuple[str, int]:
    """One host and its port. Raises `error` where it is none; nothing of the text is in it, which may hold a secret."""
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") <= 1:
        host, _, port = text.partition(":")
    if not host:
        raise error("must name a host")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise error(f"must have a port of 1 to {_MAX_PORT}")  # what stands there may be half a password
    return unquote(host), int(port) if port else default_port
