"""Every error eventcore raises, in one tree, each saying what to do next.

::

    EventCoreError
    ├── ConfigurationError            fix:    a URL, setting or extra is wrong or missing
    │   ├── MissingExtraError         fix:    install the named extra
    │   ├── SchemaMismatchError       fix:    a table exists with another shape
    │   ├── DefinitionChangedError    fix:    another definition made a projection's rows: rebuild
    │   ├── ReplayRefusedError        fix:    the target of a replay holds something else
    │   └── RegistrationError         fix:    two event types share a name, …
    ├── InvalidEventError             fix:    from outside, and no event; carries a reason code
    ├── InputError                    fix:    a file is missing, damaged or forbidden
    ├── UndecodableEventError         look:   a stored event cannot be read by this code
    ├── RuleViolationError            fix:    a business rule refuses; carries a reason code
    ├── AggregateNotFoundError        look:   nothing has happened to that aggregate
    │   └── VersionNotFoundError      look:   the stream has fewer events
    ├── StoreError                    look:   the store refused or failed
    │   ├── ConcurrencyConflictError  reload: the stream moved since it was read
    │   ├── EventIdReusedError        fix:    an event id is stored already, as another event
    │   │   └── CommandIdReusedError  fix:    a command's id was used for another command
    │   ├── LimitExceededError        fix:    too large, too many; nothing was sent
    │   ├── StoreUnavailableError     retry:  locked, full, unreachable; outcome may be unknown
    │   ├── LogRewoundError           look:   events that were read are gone: rebuild
    │   ├── LogRestoredError          look:   a table was restored or replaced: repair it
    │   ├── LogDamagedError           look:   a table was changed by hand: repair it
    │   ├── TrimmedHistoryError       fix:    that part of the log is in an archive: open it as well
    │   ├── TrimRefusedError          look:   the archive does not hold what is to be removed
    │   ├── ArchiveDamagedError       look:   a file of an archive is missing or was changed
    │   ├── ArchiveOfAnotherLogError  fix:    an archive was made from another log
    │   ├── LogAlteredError           look:   a log is not as it was sealed: verify it
    │   ├── LogsDifferError           look:   the target of a copy holds something else
    │   └── StoreClosedError          fix:    used after close()
    ├── ProjectionError               look:   a projection stopped
    │   ├── ProjectionFailedError     fix:    a handler raised on the named event
    │   ├── CheckpointMovedError      retry:  another runner advanced the same projection
    │   ├── ReadModelsDifferError     look:   a rebuild made other rows: nothing was replaced
    │   └── ViewsOfAnotherLogError    fix:    its rows were made from another log: rebuild them
    ├── ReplayBrokenOffError          retry:  a process of a replay ended; what is done is kept
    ├── WaitTimeoutError              retry:  a read model did not reach the position in time
    ├── RetriesExhaustedError         retry:  a command lost its race too many times
    ├── DemoFailedError               look:   the demo found a difference
    └── WorkerFailedError             look:   a process of the demo ended by itself

A message names the thing and the next step. Personal values and secrets never appear in one:
messages carry identifiers, types, positions, reason codes and limits only.
"""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override


class EventCoreError(Exception):
    """Base of every error of this library.

    The message is built from :attr:`template` and the keyword arguments, which stay readable on the
    instance: ``error.stream``, ``error.position``.
    """

    template: ClassVar[str] = "{message}"

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        super().__init__(self.template.format(**facts))

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only facts: without this an error could not cross a process boundary.
        return _rebuild, (type(self), self.facts)


def _rebuild(cls: type[EventCoreError], facts: dict[str, Any]) -> EventCoreError:
    return cls(**facts)


class ConfigurationError(EventCoreError):
    """A URL, a setting or a declaration is wrong. Fix it; nothing was opened or changed."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is not installed."""

    template = (
        "{feature} needs the package {package}. "
        "Install it with: pip install 'eventcore-es[{extra}]'"
    )


class SchemaMismatchError(ConfigurationError):
    """A table has another shape than this version of eventcore or your projection needs."""

    template = "Table {table} in {database} has {found}, expected {expected}. {action}"


class DefinitionChangedError(ConfigurationError):
    """Rows of a projection were made by another definition of it. Nothing was changed.

    Rebuild it: the new rows are made beside the old ones, which are read until then. If the change
    makes no other rows (a name, a fix of what never happened), accept it.
    """

    template = (
        "The rows of projection {projection} in {database} were made {what}. Rebuild it beside "
        "them: eventcore projections rebuild {projection}; or, if the change makes no other rows: "
        "eventcore projections accept {projection}"
    )


class ReplayRefusedError(ConfigurationError):
    """The target of a replay holds rows that are not those asked for. Nothing was changed.

    Name another target; or drop what an earlier replay left there.
    """

    template = (
        "Projection {projection} is not replayed into {database}: {problem}. {action}. "
        "Nothing was changed"
    )


class RegistrationError(ConfigurationError):
    """A class is declared in a way that cannot work. Raised when the module is imported."""


class CodedError(EventCoreError):
    """An error with a stable, machine-readable ``reason`` such as ``email-taken``."""

    reason: str


class InvalidEventError(CodedError):
    """Something from outside is no acceptable event. Nothing was written.

    ``reason`` is one of the codes of the ingestion reference (``not-json``, ``missing-field``, …);
    ``field`` names the place inside the event in wire spelling, e.g.
    ``data.payload.items.0.price``; a key that does not look like a field's name is written
    ``(hidden)``, since the sender chose it. The offending value is never part of the message.
    """

    template = "{reason}: {message}"

    def __init__(self, *, reason: str, message: str, field: str | None = None) -> None:
        super().__init__(reason=reason, message=message, field=field)


class InputError(EventCoreError):
    """A file is missing, damaged or forbidden. What was done before stays done."""

    template = "{name}: {problem}"


class SealsDamagedError(EventCoreError):
    """A file of seals is not as it was written. Look at who may write it; nothing was added to it.

    A line that is not finished is what a sealer leaves that was stopped while it wrote: seal again,
    and it is taken off.
    """

    template = (
        "{name}: seal {number} {problem}. Look at who may write the file, and at the copy of it "
        "that is kept elsewhere; after a crash of the sealer, seal again"
    )


class UndecodableEventError(EventCoreError):
    """A stored event cannot be turned into its class by this version of the code.

    Look at the named type: register the class, add the missing upcaster, or read the log with a
    codec that allows unknown types.
    """

    template = (
        "Event {event_type} (version {version} of {stream}, position {position}) "
        "cannot be read: {problem}"
    )


class RuleViolationError(CodedError):
    """A business rule refuses. Nothing was recorded; the aggregate is unchanged.

    ``reason`` is the stable code (``invalid-transition``), ``aggregate`` the stream it concerns.
    """

    template = "{aggregate}: {message} ({reason})"

    def __init__(self, *, reason: str, aggregate: str, message: str, **facts: Any) -> None:
        super().__init__(reason=reason, aggregate=aggregate, message=message, **facts)


class AggregateNotFoundError(EventCoreError):
    """Nothing is stored of an aggregate, or nothing yet at the time asked for.

    Look at the id and at which store is open.
    """

    template = "{aggregate} {id!r} does not exist in {store}{when}"


class VersionNotFoundError(AggregateNotFoundError):
    """A stream has fewer events than the version asked for. Versions count from 1."""

    template = "{aggregate} {id!r} has {last_version} versions in {store}, not {version}"


class StoreError(EventCoreError):
    """The log or a view refused or failed."""

    template = "{store}: {problem}"


class ConcurrencyConflictError(StoreError):
    """The stream moved since it was read. Nothing was written: reload, or use ``app.execute``."""

    template = (
        "{stream} is at version {actual_version}, you saved from version {expected_version}. "
        "Reload it, or retry with app.execute(...)"
    )


class EventIdReusedError(StoreError):
    """An event id is stored already, as another event. Nothing was written."""

    template = (
        "Event id {event_id} is already stored as version {version} of {stream}, with another "
        "content or place. Give the new event an id of its own"
    )


class CommandIdReusedError(EventIdReusedError):
    """A command has the id of another command, which was executed. Nothing was written."""

    template = (
        "Command id {command_id} was used for another command, which recorded version {version} "
        "of {stream}. Give each command an id of its own; repeat one only as it was"
    )


class LimitExceededError(StoreError):
    """Something is larger than the store takes. Nothing was sent."""

    template = "{what} is {actual} {unit}, the limit is {limit} {unit}"


class StoreUnavailableError(StoreError):
    """The store cannot be reached or written now. Repeating the same append is always safe."""

    template = "{store} is unavailable: {problem}"


class LogRewoundError(StoreError):
    """Events that a subscription handed out are no longer in the log. Look at what became of it.

    The server lost commits in a failover, or an older state was restored under its followers. What
    was made from those events stands on a past that did not happen: rebuild it.
    """

    template = (
        "{store} no longer has the event at position {position} that a subscription handed out: "
        "the server lost commits, in a failover or a restore. Rebuild what was made from it"
    )


class LogRestoredError(StoreError):
    """The log's table is not as the log left it. Nothing was written: look, then repair it.

    It was restored from a backup, replaced by another one of its name, or set back; or a repair of
    it goes on, or was broken off.
    """

    template = (
        "{store}: {problem}. Commits at its end may be there in part: stop all writers, look "
        "whether it is the right table, and run eventcore db repair"
    )


class LogDamagedError(StoreError):
    """Records of a log overlap: somebody changed its table by hand. Look at it, then repair it."""

    template = (
        "{store}: position {position} is written twice. The table was restored or changed by hand: "
        "stop all writers and run eventcore db repair"
    )


class TrimmedHistoryError(StoreError):
    """Events that were asked for are in an archive and no longer in the log. Nothing is lost.

    Open the log with its archive: ``open_app(url, archive=…)``, ``--archive`` or
    ``EVENTCORE_ARCHIVE``.
    """

    template = (
        "{store}: {what} was moved to the archive {archive}. Open the log with it: "
        "--archive {archive}, EVENTCORE_ARCHIVE or open_app(..., archive=...)"
    )


class TrimRefusedError(StoreError):
    """Events were to be removed that must stay. Nothing was removed: look at the archive."""

    template = "{store}: {problem}. Nothing was removed"


class ArchiveDamagedError(StoreError):
    """A file of an archive is missing, cannot be read, or is not what its manifest says.

    Look at it, and put back a copy. Nothing was written or removed.
    """

    template = "archive {archive}: {file} {problem}. Put back a copy of it; nothing was changed"


class ArchiveOfAnotherLogError(StoreError):
    """An archive was made from another log, or from a later state of it. Nothing was written."""

    template = (
        "archive {archive} was made from another log: it holds event {event_id} at position "
        "{position}, and this log does not. Name the log it belongs to, or another archive"
    )


class LogAlteredError(StoreError):
    """The log does not hold what was sealed. Nothing was sealed: look at what became of it.

    It was restored to an earlier point, altered by hand, or it is another log than the file is of.
    """

    template = (
        "The log is not the one that was sealed: at position {position}, {problem}. Name the first "
        "event that is not as it was with eventcore verify"
    )


class LogsDifferError(StoreError):
    """The target of a copy holds something else than the source. Nothing was overwritten.

    Name another target; or, if something else wrote to it while it was copied into, a new one.
    """

    template = "{target} holds other events than {source}: {problem}. Nothing was overwritten"


class StoreClosedError(StoreError):
    """The store was used after ``close()``."""

    template = "{store} is closed"


class ProjectionError(EventCoreError):
    """A projection cannot go on."""


class ProjectionFailedError(ProjectionError):
    """A handler raised. Everything before the named event is applied, nothing from it on."""

    template = (
        "Projection {projection} stopped at position {position} ({event_type} of {stream}): "
        "{problem}. "
        "Fix the handler and run it again; events before that position are applied"
    )


class CheckpointMovedError(ProjectionError):
    """Another runner keeps the same projection. This page was rolled back; reading on is safe."""

    template = (
        "Projection {projection} was at {expected}, found {found}: another runner is keeping it"
    )


class ReadModelsDifferError(ProjectionError):
    """A rebuild by the same definition made other rows, or events fail that did not before.

    Look at the differing keys (``comparison``). Either the rows were changed by hand or by a
    fault, and the new ones heal that: accept the differences. Or a handler is no pure function of
    the events. The live rows are as they were, the new ones are kept beside them.
    """

    template = (
        "The rebuilt rows of projection {projection} do not take the live ones' place yet: "
        "{problem}. Nothing was replaced. Look at that; to replace them nevertheless: "
        "eventcore projections rebuild {projection} --accept-differences"
    )


class ViewsOfAnotherLogError(ProjectionError):
    """Read models were made from another log, or from a later state of it. Nothing was changed.

    Look at which log and which views are open. If they are the ones you mean (the log was restored
    from a backup, say), rebuild the projection.
    """

    template = (
        "The rows of projection {projection} in {database} were made from another log, or from a "
        "later state of this one: {problem}. Open the log they belong to, or rebuild them: "
        "eventcore projections rebuild {projection}"
    )


class ReplayBrokenOffError(EventCoreError):
    """A process of a replay ended by itself: it was killed, or out of memory. Do it again.

    What was written is kept; the next call goes on with the shards that are missing.
    """

    template = (
        "A process of the replay ended by itself ({problem}). Repeat the command: it goes on with "
        "what is missing. If memory is short, take fewer processes"
    )


class WaitTimeoutError(EventCoreError):
    """A read model did not reach a position in time."""

    template = (
        "{projection} is at position {current}, waited {timeout_seconds} s for {position}. "
        "Is it running?"
    )


class RetriesExhaustedError(EventCoreError):
    """A command lost the race for its stream on every attempt. Nothing was written."""

    template = "{command} on {stream} lost its race {attempts} times. Try again later"


class DemoFailedError(EventCoreError):
    """Something in the demo was not as the library promises. Please report it."""

    template = "The demo found a difference: {problem}"


class WorkerFailedError(EventCoreError):
    """A process of the demo ended by itself; the message has its last words."""

    template = "The {name} (process {pid}) ended with code {code}: {problem}"
