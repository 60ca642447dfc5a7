"""Seals: proof that a log is as it was, kept outside of it; verifying, copying and backups.

===================== ============================================================================
:mod:`.digests`       of events, streams and logs, the same in every store
:mod:`.seal`          what a seal says, and its line
:mod:`.files`         the file that seals are kept in
:mod:`.keys`          keys that sign seals (extra ``crypto``)
:mod:`.sealing`       writes seals, once or following the log
:mod:`.verifying`     reads a log and names the first event that is not as it was
:mod:`.streams`       the same of one stream, without reading the rest
:mod:`.read_models`   makes rows again and names the first that differs
:mod:`.backups`       a restored log beside the live one
:mod:`.copying`       one log into another store, verified by digest
===================== ============================================================================
"""

from eventcore.seals.checks import Checks
from eventcore.seals.copying import Copied, copy_log
from eventcore.seals.digests import LogDigest, digest_of, event_digest
from eventcore.seals.files import SealFile, SealWriter
from eventcore.seals.findings import Finding, Kind, Verdict
from eventcore.seals.keys import CheckingKey, SigningKey, read_checking_key, read_signing_key
from eventcore.seals.sealing import Sealed, Sealer
from eventcore.seals.streams import verify_stream
from eventcore.seals.verifying import verify_log

__all__ = [
    "CheckingKey",
    "Checks",
    "Copied",
    "Finding",
    "Kind",
    "LogDigest",
    "SealFile",
    "SealWriter",
    "Sealed",
    "Sealer",
    "SigningKey",
    "Verdict",
    "copy_log",
    "digest_of",
    "event_digest",
    "read_checking_key",
    "read_signing_key",
    "verify_log",
    "verify_stream",
]
