"""The server's certificate, its key, and the authorities that clients' certificates come from: checked before use.

gRPC takes whatever it is given and fails at the first connection, with a line in its own log. So key and certificate
are held against each other by the standard library first.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from scheduler_server.access import secret_file
from scheduler_server.access.der import CertificateUnreadable, Validity, validity
from scheduler_server.access.secret_file import FileError, Version
from scheduler_server.access.settings import TlsSettings


class Certificates(NamedTuple):
    """PEM texts; `authorities` None: clients need no certificate."""

    chain: bytes
    key: bytes
    authorities: bytes | None
    valid: Validity


def versions(settings: TlsSettings) -> tuple[Version, ...]:
    """The states that the files are in. Raises FileError."""
    return tuple(secret_file.version(Path(name)) for name in _names(settings))


def load(settings: TlsSettings, now: float) -> Certificates:
    """Read and check all files. Raises FileError with what is wrong; `now` in seconds since 1970."""
    before = versions(settings)
    chain = secret_file.read(Path(settings.cert_file), secret=False, what="tls.cert_file")
    key = secret_file.read(Path(settings.key_file), secret=True, what="tls.key_file")
    authorities = None
    if settings.client_ca_file:
        authorities = secret_file.read(Path(settings.client_ca_file), secret=False, what="tls.client_ca_file")
    _check_pair(settings)
    if authorities is not None:
        _check_authorities(settings.client_ca_file, authorities)
    if versions(settings) != before:
        raise FileError(f"tls.cert_file {settings.cert_file}: changed while it was read")
    return Certificates(chain, key, authorities, _valid(settings.cert_file, chain, now))


def _names(settings: TlsSettings) -> list[str]:
    return [name for name in (settings.cert_file, settings.key_file, settings.client_ca_file) if name]


def _valid(name: str, chain: bytes, now: float) -> Validity:
    try:
        found = validity(chain)
    except CertificateUnreadable as error:
        raise FileError(f"tls.cert_file {name}: {error}") from None
    if now > found.ends:
        raise FileError(f"tls.cert_file {name}: expired at {_instant(found.ends)}")
    if now < found.begins:
        raise FileError(f"tls.cert_file {name}: is valid from {_instant(found.begins)} on; is the clock right?")
    return found


def _check_pair(settings: TlsSettings) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_password)
    except _Encrypted:
        raise FileError(f"tls.key_file {settings.key_file}: is encrypted; the server has no password for it") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise FileError(
                f"tls.key_file {settings.key_file}: is not the key of the certificate in {settings.cert_file}"
            ) from None
        both = f"tls.cert_file {settings.cert_file} and tls.key_file {settings.key_file}"
        raise FileError(f"{both}: no certificate and key in PEM ({error.reason or 'unreadable'})") from None
    except OSError as error:
        raise FileError(f"tls.key_file {settings.key_file}: cannot be read: {error.strerror}") from None


class _Encrypted(Exception):
    """The key asks for a password."""


def _no_password() -> str:
    raise _Encrypted


def _check_authorities(name: str, pem: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii", errors="replace"))
        if not context.get_ca_certs():
            raise ValueError
    except (ssl.SSLError, ValueError):
        raise FileError(f"tls.client_ca_file {name}: holds no certificate of an authority in PEM") from None


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
