"""When is a certificate valid? The two instants of X.509 (RFC 5280, 4.1.2.5), and nothing else of it.

Chains, names and signatures are TLS's to check, and it does; but it checks a client's certificate when the client
connects and never again, and a server's own not at all. A library for it would be 15 MB for these two values.
"""

import binascii
import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import NamedTuple

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_LONG_FORM = 0x80
_PIVOT = 50  # RFC 5280: two digits of a year from here on are of the 20th century


class Validity(NamedTuple):
    """From when to when, both included, in seconds since 1970."""

    begins: float
    ends: float


class CertificateUnreadable(ValueError):
    """Not a certificate."""


def validity(pem: bytes) -> Validity:
    """Of the first certificate in a PEM text. Raises CertificateUnreadable."""
    found = _PEM.search(pem)
    if found is None:
        raise CertificateUnreadable("holds no certificate in PEM")
    try:
        whole = b64decode(found[1])
        certificate, _ = _open(whole, 0, _SEQUENCE)
        body, _ = _open(whole, certificate, _SEQUENCE)
        at = body
        if whole[at] == _VERSION:
            at = _skip(whole, at)
        for _ in ("serial number", "signature algorithm", "issuer"):
            at = _skip(whole, at)
        inside, _ = _open(whole, at, _SEQUENCE)
        return Validity(_instant(whole, inside), _instant(whole, _skip(whole, inside)))
    except (IndexError, ValueError, binascii.Error) as error:
        raise CertificateUnreadable(f"holds a certificate that cannot be read: {error}") from None


def _open(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the contents of a value begin and end."""
    if data[at] != tag:
        raise ValueError(f"tag {data[at]:#x} in place of {tag:#x}")
    length = data[at + 1]
    at += 2
    if length >= _LONG_FORM:
        count = length - _LONG_FORM
        length = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + length > len(data):
        raise ValueError("it ends too early")
    return at, at + length


def _skip(data: bytes, at: int) -> int:
    return _open(data, at, data[at])[1]


def _instant(data: bytes, at: int) -> float:
    begin, end = _open(data, at, data[at])
    text = data[begin:end].decode("ascii")
    if data[at] == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _PIVOT else "20") + text
    elif data[at] != _GENERALIZED_TIME:
        raise ValueError("no time where its validity should be")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
