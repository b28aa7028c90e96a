"""The port's TLS. gRPC asks for certificates at each handshake, so new connections get those that were read last."""

from typing import Any

import grpc

from scheduler_server.access.certificates import Certificates
from scheduler_server.access.rotation import Rotation


def server_credentials(files: Rotation[Certificates]) -> grpc.ServerCredentials:
    """Credentials that follow the files. Connections that are open keep what they were made with."""
    taken = files.revision

    def changed() -> Any:
        # Called on a thread of the transport, one handshake at a time; what it gives was checked when it was read.
        nonlocal taken
        revision = files.revision
        if revision == taken:
            return None
        taken = revision
        return _configuration(files.value)

    first = files.value
    required = first.authorities is not None
    made: Any = grpc.dynamic_ssl_server_credentials(
        _configuration(first), changed, require_client_authentication=required
    )
    return made  # type: ignore[no-any-return]


def _configuration(certificates: Certificates) -> Any:
    return grpc.ssl_server_certificate_configuration([(certificates.key, certificates.chain)], certificates.authorities)
