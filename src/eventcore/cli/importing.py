"""Modules of the user's own, imported so that the commands know what they declare.

Event types and aggregates register themselves; read models are named by a module's ``PROJECTIONS``,
process managers by its ``PROCESSES``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from eventcore.processes.process import ProcessManager
    from eventcore.projections.projection import Projection

ATTRIBUTE: Final = "PROJECTIONS"
"""Where a module lists its read models, as instances."""

PROCESSES: Final = "PROCESSES"
"""Likewise its process managers."""


def import_module(option: str, name: str) -> ModuleType:
    """Import a module; the current directory is looked into first, as ``python -m`` does.

    Raises:
        ConfigurationError: There is no such module, or it imports something that is not there.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(message=f"{option} {name!r} is no module's name, such as shop.app")
    here = str(Path.cwd())
    if here not in sys.path:
        # For good: what is imported may import more when it is called.
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(message=f"{option} {name} cannot be imported: {error}") from error


def import_own(names: Iterable[str]) -> list[ModuleType]:
    """The modules of ``--import``.

    Raises:
        ConfigurationError: One cannot be imported.
    """
    return [import_module("--import", name) for name in names]


def projections_with(names: Iterable[str]) -> list[Projection]:
    """The built-in read models and those that modules name, which win over others of their name.

    Raises:
        ConfigurationError: A ``PROJECTIONS`` is something else than read models.
    """
    from eventcore.projections.projection import Projection  # noqa: PLC0415 - help names no table
    from eventcore.projections.read_models import built_in_projections  # noqa: PLC0415 - likewise

    found = {one.name: one for one in built_in_projections()}
    for module in import_own(names):
        named = getattr(module, ATTRIBUTE, ())
        if not isinstance(named, list | tuple) or not all(
            isinstance(one, Projection) for one in named
        ):
            raise ConfigurationError(
                message=f"{ATTRIBUTE} of {module.__name__} is a list of projections, "
                "such as [DailySales()]"
            )
        found.update({one.name: one for one in named})
    return list(found.values())


def processes_with(names: Iterable[str]) -> list[ProcessManager]:
    """The process managers that modules name.

    Raises:
        ConfigurationError: A ``PROCESSES`` is something else than process managers.
    """
    from eventcore.processes.process import ProcessManager  # noqa: PLC0415 - help needs none

    found: list[ProcessManager] = []
    for module in import_own(names):
        named = getattr(module, PROCESSES, ())
        if not isinstance(named, list | tuple) or not all(
            isinstance(one, ProcessManager) for one in named
        ):
            raise ConfigurationError(
                message=f"{PROCESSES} of {module.__name__} is a list of process managers, "
                "such as [PaymentDeadline()]"
            )
        found += named
    return found
