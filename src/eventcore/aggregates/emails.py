"""E-mail addresses: which texts are one, and which of them are the same one."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from eventcore.events.catalogue.users import EMAIL_LENGTH_MAX

# What nearly every address looks like. Any text of this form is an address by the full check too
# (test_emails.py proves it on generated ones), which is slow, and slow to import.
_PLAIN: Final = re.compile(
    r"[A-Za-z0-9_+]+(?:[.-][A-Za-z0-9_+]+)*@(?:[A-Za-z0-9]{1,30}(?:-[A-Za-z0-9]{1,30})?\.)+[A-Za-z]{2,30}"
)
_ENCODED: Final = "xn--"
"""Begins the parts of a domain that stand for text beyond ASCII (RFC 5890, section 2.3.1)."""
_PLAIN_LOCAL_LENGTH_MAX: Final = 64
"""RFC 5321, section 4.5.3.1.1."""
# Names set aside for tests and private networks (RFC 6761, 6762, 7686). The full check refuses them
# as undeliverable; by syntax they are like any other.
_SPECIAL_USE: Final = frozenset({"arpa", "invalid", "local", "localhost", "onion", "test"})


def is_email(text: str) -> bool:
    """Whether a text is an e-mail address by its syntax; nothing is looked up.

    Quoted local parts, address literals, comments and domains without a dot, all lawful in SMTP,
    count as mistakes here: that is what they nearly always are.
    """
    local, _, domain = text.rpartition("@")
    if len(text) > EMAIL_LENGTH_MAX:
        return False
    rest, dot, last = domain.rpartition(".")
    if last.lower() in _SPECIAL_USE:
        # Another name of the same length: everything else is still checked.
        last = "x" * len(last)
        text = f"{local}@{rest}{dot}{last}"
    if len(local) <= _PLAIN_LOCAL_LENGTH_MAX and _PLAIN.fullmatch(text):
        return True
    return _passes_full_check(text)


def same_email(text: str) -> str:
    """The one spelling that all spellings of an address share.

    Without case, composed (NFC), and the domain as the domain name system has it (``xn--``).
    Letters that only sound alike stay apart: ``groß@`` and ``gross@`` may be two people.
    """
    lower = text.lower()
    if lower.isascii() and _ENCODED not in lower:
        return lower
    lower = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    local, at, domain = lower.rpartition("@")
    return f"{local}{at}{_encoded(domain)}"


def _encoded(domain: str) -> str:
    import idna  # noqa: PLC0415 - slow to import, and most addresses do without

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:
        return domain  # no domain name: stored under an older rule, and still to be told apart


def _passes_full_check(text: str) -> bool:
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415 - slow to import

    try:
        validate_email(text, check_deliverability=False, strict=True)
    except EmailNotValidError:
        return False
    return True
