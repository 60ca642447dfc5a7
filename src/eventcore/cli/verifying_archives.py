"""``eventcore verify --archive``: is what left the log still as it was?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventcore.lake.checking import ArchiveSource, Damage, first_damage
from eventcore.lake.reading import Archive
from eventcore.seals.backups import compare_backup
from eventcore.seals.checks import Checks
from eventcore.seals.findings import Finding, Kind, Verdict
from eventcore.seals.verifying import verify_log

if TYPE_CHECKING:
    from eventcore.seals.sources import Source


def verify_archive(archive: Archive, checks: Checks, live: Source | None, after: int) -> Verdict:
    """Verify an archive by its own digests, by seals, and by what the log still has of it.

    Args:
        archive: Which.
        checks: What to check it by.
        live: The log itself; None: it is not compared.
        after: Everything up to this position may have been trimmed from the log.

    Raises:
        StoreUnavailableError: One of them cannot be read now.
    """
    damage = first_damage(archive)
    source = ArchiveSource(archive)
    verdict = verify_log(source, checks)
    finding = verdict.finding
    if finding is None and live is not None and after < archive.until:
        finding = compare_backup(source, live, after=after).finding
    if damage is not None and not _is_named(finding, damage):
        finding = Finding(
            Kind.ALTERED,
            f"{damage.file} {damage.problem}; it holds positions {damage.first} to {damage.last}",
            damage.first,
        )
    return verdict._replace(finding=finding)


def _is_named(finding: Finding | None, damage: Damage) -> bool:
    """Whether an event was named that the damage to the file explains, or one before it."""
    if finding is None or finding.kind is Kind.UNREADABLE:
        return False
    return finding.position is not None and finding.position <= damage.last
