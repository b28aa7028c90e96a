"""Certificates for tests, made in milliseconds: authorities, servers, clients."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BEGINS = datetime(2020, 1, 1, tzinfo=UTC)
ENDS = datetime(2049, 1, 1, tzinfo=UTC)
"""Valid by the clock of the machine, and by those of tests, which stand still anywhere in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Into NAME.pem and NAME.key, as they should be kept; each is swapped in whole."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        for path, data in zip(paths, (self.certificate, self.key), strict=True):
            swap(path, data)
        return paths


def swap(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file as those do who rotate secrets: another file takes its place."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(data)
    fresh.chmod(mode)
    fresh.replace(path)


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "tests") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key, BEGINS, ENDS)
        self._certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
            self._key, hashes.SHA256()
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *names: str,
        addresses: Sequence[str] = (),
        begins: datetime = BEGINS,
        ends: datetime = ENDS,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> Pair:
        """A certificate for these names: URIs where they have a scheme, DNS names otherwise."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "holder")])
        builder = _builder(subject, self._name, key, begins, ends)
        alternatives: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name) for name in names
        ]
        alternatives += [x509.IPAddress(ip_address(address)) for address in addresses]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return Pair(
            certificate=builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def server(self, *, ends: datetime = ENDS) -> Pair:
        """A certificate that a server on the loopback address can show."""
        return self.issue("localhost", addresses=["127.0.0.1"], ends=ends)

    def trusted(self, own: Pair | None = None) -> grpc.ChannelCredentials:
        """Credentials of a client that trusts this authority, and shows a certificate of its own."""
        if own is None:
            return grpc.ssl_channel_credentials(self.pem)
        return grpc.ssl_channel_credentials(self.pem, own.key, own.certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(begins, ends - timedelta(days=1)))
        .not_valid_after(ends)
    )
