"""Keys for signing seals: Ed25519, in PEM files as OpenSSL writes them.

Needs the extra ``crypto``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from eventcore.errors import ConfigurationError, InputError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


class SigningKey:
    """A private key: whoever has it can seal.

    Args:
        key: Of the package ``cryptography``.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(data)


class CheckingKey:
    """A public key: whoever has it can check who sealed.

    Args:
        key: Of the package ``cryptography``.
    """

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def is_signed(self, data: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's of these bytes."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def read_signing_key(path: Path | str) -> SigningKey:
    """Read a private key.

    Args:
        path: A PEM file without a password, as ``openssl genpkey -algorithm ed25519`` writes it.

    Raises:
        InputError: The file cannot be read.
        ConfigurationError: It holds no such key.
        MissingExtraError: ``cryptography`` is not installed.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - likewise
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - likewise
        load_pem_private_key,
    )

    data = _read(path)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigurationError(
            message=f"{path} holds no private Ed25519 key in PEM form without a password. "
            "Make one: openssl genpkey -algorithm ed25519 -out FILE"
        )
    return SigningKey(key)


def read_checking_key(path: Path | str) -> CheckingKey:
    """Read a public key.

    Args:
        path: A PEM file, as ``openssl pkey -pubout`` writes it.

    Raises:
        InputError: The file cannot be read.
        ConfigurationError: It holds no such key.
        MissingExtraError: ``cryptography`` is not installed.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - likewise
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - likewise
        load_pem_public_key,
    )

    data = _read(path)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigurationError(
            message=f"{path} holds no public Ed25519 key in PEM form. "
            "Make it: openssl pkey -in PRIVATE -pubout -out FILE"
        )
    return CheckingKey(key)


def _read(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(name=str(path), problem=error.strerror or str(error)) from error


def _require() -> None:
    if find_spec("cryptography") is None:
        raise MissingExtraError(
            feature="Signing and checking seals", package="cryptography", extra="crypto"
        )
