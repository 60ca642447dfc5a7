"""Checks: what is verified, and which seals are believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from eventcore.errors import SealsDamagedError
from eventcore.seals.files import SealFile
from eventcore.seals.findings import Finding, FoundError, Kind
from eventcore.seals.seal import Seal, SignatureChecker


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What to check, beside the order of the log.

    Attributes:
        seals: The file of seals; None: nothing says how the events were.
        key: Each seal has to be signed by it; None: signatures are not looked at.
        anchor: Digest of a seal that has to be in the file: one that was noted elsewhere.
        indexes: Whether a log is to tell the same by stream and by event id as in order.
        is_backup: Whether the log may end before the seals do.
    """

    seals: SealFile | None = None
    key: SignatureChecker | None = None
    anchor: str | None = None
    indexes: bool = True
    is_backup: bool = False


def trusted_seals(checks: Checks) -> Iterator[Seal]:
    """The seals that are there when this is called, each as far as it can be believed.

    Raises:
        InputError: The file is missing or cannot be read.
        FoundError: On the way: one was changed, is missing, or is not signed as it should be.
    """
    if checks.seals is None:
        return iter(())
    return _trusted(checks.seals.read(), checks)


def _trusted(seals: Iterator[Seal], checks: Checks) -> Iterator[Seal]:
    anchor = checks.anchor
    try:
        for seal in seals:
            if checks.key is not None and not seal.is_signed_by(checks.key):
                _refuse(f"seal {seal.content.number} is not signed by this key")
            anchor = None if seal.digest == anchor else anchor
            yield seal
    except SealsDamagedError as error:
        _refuse(str(error))
    if anchor is not None:
        _refuse(f"no seal has the digest {anchor}: the file was cut off or written anew")


def _refuse(problem: str) -> NoReturn:
    raise FoundError(Finding(Kind.SEAL, problem))
