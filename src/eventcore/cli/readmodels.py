"""The read models that the commands know, and their tables by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from eventcore.cli.importing import processes_with, projections_with
from eventcore.cli.options import OPTIONS
from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from eventcore.projections.projection import AnyTable, Projection

T = TypeVar("T")


def all_projections() -> list[Projection]:
    """The built-in read models and those of ``--import``."""
    return projections_with(OPTIONS.modules)


def kept_projections() -> list[Projection]:
    """The same, what is kept of the process managers of ``--import``, and the library's own."""
    from eventcore.processes.folding import projections_of  # noqa: PLC0415 - help names no table
    from eventcore.projections.bookkeeping import bookkeeping  # noqa: PLC0415 - likewise

    processes = processes_with(OPTIONS.modules)
    of_processes = [one for process in processes for one in projections_of(process)]
    return [*all_projections(), *of_processes, *bookkeeping()]


def find_projection(name: str) -> Projection:
    """The projection of that name.

    Raises:
        ConfigurationError: There is none; the message lists those there are.
    """
    return _find("projection", name, {one.name: one for one in all_projections()})


def all_tables() -> list[AnyTable]:
    """Every table of these read models."""
    return [table for projection in all_projections() for table in projection.tables]


def find_table(name: str) -> AnyTable:
    """The table of that name.

    Raises:
        ConfigurationError: There is none; the message lists those there are.
    """
    return _find("table", name, {table.name: table for table in all_tables()})


def _find(kind: str, name: str, known: dict[str, T]) -> T:
    if name not in known:
        meant = get_close_matches(name, known, n=1)
        hint = f" Did you mean {meant[0]}?" if meant else ""
        message = f"There is no {kind} {name!r}, only {', '.join(known)}.{hint}"
        raise ConfigurationError(message=message)
    return known[name]
