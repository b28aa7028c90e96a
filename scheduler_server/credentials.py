"""How does a client prove who it is? TLS from files, and a token from a file. For the SDKs and schedctl.

    SchedulerClient("scheduler.example:50051", credentials=tls(ca_file="ca.pem"), token=TokenFile("queue-1.token"))
    Worker("scheduler.example:50051", credentials=lambda: tls("ca.pem", "w1.pem", "w1.key"))  # read for each stream

Imports grpc and the standard library alone.
"""

import os
import stat
from os import PathLike
from pathlib import Path

import grpc

_LONGEST_TOKEN = 64 * 1024

AnyPath = str | PathLike[str]


class CredentialError(ValueError):
    """A file that cannot be used; the message names it and says why, and never what is in it."""


def tls(
    ca_file: AnyPath | None = None, cert_file: AnyPath | None = None, key_file: AnyPath | None = None
) -> grpc.ChannelCredentials:
    """TLS with these PEM files, as they are now. Without `ca_file` the authorities that gRPC carries are trusted.

    Raises CredentialError: a file cannot be read, everybody may read the key, or certificate or key is named alone.
    """
    if (cert_file is None) != (key_file is None):
        raise CredentialError("a certificate and its key go together")
    authorities = _read(ca_file, secret=False) if ca_file is not None else None
    key = _read(key_file, secret=True) if key_file is not None else None
    certificate = _read(cert_file, secret=False) if cert_file is not None else None
    return grpc.ssl_channel_credentials(authorities, key, certificate)


class TokenFile:
    """Reads a bearer token anew for each call, so that the file may be rotated. Refuses one that everybody may read."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path

    def __call__(self) -> str:
        """The token. Raises CredentialError."""
        try:
            said = _read(self._path, secret=True).decode("ascii").strip()
        except UnicodeDecodeError:
            said = ""
        if not said or not said.isprintable() or " " in said or len(said) > _LONGEST_TOKEN:
            raise CredentialError(f"{self._path}: holds no token")
        return said


def _read(path: AnyPath, *, secret: bool) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if secret and stat.S_ISREG(mode) and mode & stat.S_IROTH:
                shown = f"{stat.S_IMODE(mode):04o}"
                raise CredentialError(f"{path}: everybody on this machine may read it (mode {shown}); chmod 600")
            return file.read()
    except OSError as error:
        raise CredentialError(f"{path}: cannot be read: {error.strerror}") from None
