"""This library's errors in the words of ``eventsourcing``, once, at the edge of its recorders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from eventsourcing import persistence

from eventcore import errors

NAMED_MAX: Final = 3
"""Places that a message names."""

_TRANSLATIONS: Final[tuple[tuple[type[errors.EventCoreError], type[Exception]], ...]] = (
    (errors.StoreClosedError, persistence.ConnectionPoolClosedError),
    (errors.StoreUnavailableError, persistence.OperationalError),
    (errors.ConcurrencyConflictError, persistence.IntegrityError),
    (errors.LimitExceededError, persistence.DataError),
    (errors.StoreError, persistence.InternalError),
    (errors.SchemaMismatchError, persistence.ProgrammingError),
    (errors.ConfigurationError, persistence.InterfaceError),
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise the library's error for one of ours, with the same message.

    A missing extra stays what it is: it says what to install.
    """
    try:
        yield
    except errors.MissingExtraError:
        raise
    except errors.EventCoreError as error:
        for ours, theirs in _TRANSLATIONS:
            if isinstance(error, ours):
                raise theirs(str(error)) from error
        raise


def taken(stored_events: Sequence[persistence.StoredEvent]) -> persistence.IntegrityError:
    """The error of an insert whose versions are not free; it names places and nothing else."""
    places = ", ".join(
        [
            f"{one.originator_id} version {one.originator_version}"
            for one in stored_events[:NAMED_MAX]
        ]
    )
    more = f" and {len(stored_events) - NAMED_MAX} more" if len(stored_events) > NAMED_MAX else ""
    return persistence.IntegrityError(
        f"One of these is taken, does not follow the last version, or was processed: {places}{more}"
    )
