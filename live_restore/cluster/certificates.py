"""Certificates of a cluster: who has one from its authority belongs to it, and nobody else.

::

    FOLDER/authority/   key.pem  cert.pem     makes members; stays where it is
    FOLDER/NAME/        key.pem  cert.pem  authority.pem     goes to the computer NAME
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.errors import SettingsError, UsageError
from live_restore.installation import install_with

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, KeyUsage

KEY, CERTIFICATE, AUTHORITY = "key.pem", "cert.pem", "authority.pem"
_FOLDER_OF_AUTHORITY = "authority"
# An instrument PC lives for about ten years, and nobody is there in the night it would end.
_LASTS = datetime.timedelta(days=3650)
# Clocks of instrument PCs without a network are off by more than minutes.
_BEFORE = datetime.timedelta(days=2)


def make_members(folder: Path, names: Sequence[str]) -> list[Path]:
    """Make the authority of a cluster, if there is none yet, and the folders of its members.

    Parameters
    ----------
    folder
        Of the cluster.
    names
        Of its computers; one that has a folder already keeps it.

    Returns
    -------
    list of Path
        The folder of each.

    Raises
    ------
    UsageError
        A package is missing, a name is none, or the folder cannot be written.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise UsageError(
            "certificates need the package cryptography",
            None,
            install_with("cluster"),
        ) from None
    for name in names:
        if name == _FOLDER_OF_AUTHORITY or not name.replace("-", "").replace("_", "").isalnum():
            raise UsageError(
                f'"{name}" is no name for a computer here', None, "use letters, digits, - and _"
            )
    try:
        authority = _authority(folder / _FOLDER_OF_AUTHORITY)
        return [_member(folder / name, authority) for name in names]
    except OSError as error:
        raise UsageError(
            f"cannot be written ({error.strerror or error})", folder, "choose another folder"
        ) from None
    except ValueError as error:
        raise UsageError(
            f"holds a damaged authority ({error})", folder, "choose a fresh folder"
        ) from None


def require_member(folder: Path) -> None:
    """Refuse a folder that is not a member's.

    Raises
    ------
    SettingsError
        A file is missing.
    """
    for name in (KEY, CERTIFICATE, AUTHORITY):
        if not (folder / name).is_file():
            raise SettingsError(
                f"has no {name}",
                folder,
                "set cluster.certificates to a computer's folder from live-restore cluster init",
            )


def _authority(folder: Path) -> tuple[Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if (folder / CERTIFICATE).exists():
        key = serialization.load_pem_private_key((folder / KEY).read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("its key is of another kind")
        return x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes()), key
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _signed("live-restore cluster", key, None, key)
    _write(folder, key, certificate)
    return certificate, key


def _member(folder: Path, authority: tuple[Certificate, EllipticCurvePrivateKey]) -> Path:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not (folder / CERTIFICATE).exists():
        issuer, issuer_key = authority
        key = ec.generate_private_key(ec.SECP256R1())
        folder.mkdir(parents=True, exist_ok=True)
        text = issuer.public_bytes(serialization.Encoding.PEM)
        (folder / AUTHORITY).write_bytes(text)
        _write(folder, key, _signed(folder.name, key, issuer, issuer_key))
    return folder


def _signed(
    name: str,
    key: EllipticCurvePrivateKey,
    issuer: Certificate | None,
    issuer_key: EllipticCurvePrivateKey,
) -> Certificate:
    """Return a certificate; ``issuer`` is ``None`` for the authority's own."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    now = datetime.datetime.now(datetime.UTC)
    constraints = x509.BasicConstraints(
        ca=issuer is None, path_length=0 if issuer is None else None
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + _LASTS)
        .add_extension(constraints, critical=True)
        .add_extension(_usage(signs=issuer is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )


def _usage(*, signs: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(folder: Path, key: EllipticCurvePrivateKey, certificate: Certificate) -> None:
    """Write key and certificate, the certificate last: it says that both are there."""
    from cryptography.hazmat.primitives import serialization

    folder.mkdir(parents=True, exist_ok=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # Whoever reads it is a member: on Windows the folder's permissions have to do.
    handle = os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secret)
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
