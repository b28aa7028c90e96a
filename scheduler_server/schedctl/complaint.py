"""A failed call in one line: what failed, at which server, and what to look at."""

from grpc import StatusCode

from scheduler_server.client import AccessDenied, DeadlineExceeded, NotSupported, SchedulerError, ServerUnavailable
from scheduler_server.schedctl.contexts import Place
from scheduler_server.schedctl.figures import span

_CAUSES = (
    # What gRPC says, what it means, what to look at; the first that fits, so what says most comes first.
    ("connection refused", "nobody listens there", "is the server running, and is the port right?"),
    ("dns resolution failed", "its name is not known", "is it spelled right?"),
    ("name not found", "its name is not known", "is it spelled right?"),
    ("address lookup failed", "its name could not be looked up", "is it spelled right, and is there a network?"),
    ("certificate_verify_failed", "its certificate is not trusted", "is --ca-file the one that signed it?"),
    ("hostname verification", "its certificate is for another name", "--tls-name tells that name"),
    ("wrong_version_number", "it does not speak TLS", "is it plaintext, without --tls?"),
    (
        "create security handshaker",
        "TLS could not begin",
        "are --ca-file, --cert-file and --key-file what they should be?",
    ),
    ("tls handshake failed", "TLS failed", "does the server ask for a certificate (--cert-file, --key-file)?"),
    ("http1.x server", "it speaks HTTP/1, not gRPC", "is the port right?"),
    ("no route to host", "there is no way to it", "is the network up?"),
    ("network is unreachable", "there is no way to it", "is the network up?"),
    ("socket closed", "it closed the connection", "do both sides use TLS, or neither?"),
    ("connection reset", "it closed the connection", "do both sides use TLS, or neither?"),
    ("failed to connect", "no connection was made", "is the address right, and no firewall between?"),
)


_CLOSED = ("socket closed", "connection reset")
"""What is seen of a server that ends TLS: in TLS 1.3 the client is done before its certificate is missed."""

_WITHOUT_ITS_OWN = "does it ask for a certificate (--cert-file, --key-file), or not speak TLS at all?"


def complaint(error: SchedulerError, place: Place) -> str:
    """The line."""
    if isinstance(error, ServerUnavailable) and not error.reason:
        return _unreachable(error, place)
    if isinstance(error, DeadlineExceeded):
        waited = f"{place.server} ({place.said_by}) did not answer within {span(place.timeout_s)}"
        return f"{waited}: is it a scheduler-server, and not overloaded? --timeout gives it longer"
    if isinstance(error, NotSupported):
        if not error.reason:
            return f"{place.server} does not know this call: is it a scheduler-server, and as new as schedctl?"
        return f"not supported by this server ({place.server}): {error.message}"
    if isinstance(error, AccessDenied):
        if error.code is StatusCode.UNAUTHENTICATED:
            return f"{place.server} does not know who you are: {error.message}; a token comes by --token-file"
        return f"no permission at {place.server}: {error.message}"
    faults = "; ".join(f"{fault.field}: {fault.description}" for fault in error.field_violations)
    return error.message if not faults or faults in error.message else f"{error.message}: {faults}"


def _unreachable(error: SchedulerError, place: Place) -> str:
    said = error.message.lower()
    for sign, meaning, hint in _CAUSES:
        if sign in said:
            alone = sign in _CLOSED and place.context.secure and not place.context.cert_file
            return f"cannot reach {place.server} ({place.said_by}): {meaning}; {_WITHOUT_ITS_OWN if alone else hint}"
    return f"cannot reach {place.server} ({place.said_by}): {error.message}"
