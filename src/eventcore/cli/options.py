"""Options that every command shares; they may stand anywhere on the line."""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from eventcore.cli.importing import projections_with
from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from eventcore.app import App
    from eventcore.projections.projection import Projection
    from eventcore.settings import Settings

WITH_VALUE: Final = {"--store": "store", "--views": "views", "--archive": "archive"}
URL_EXAMPLES: Final = {"--archive": "s3://bucket/lake"}
IMPORT: Final = "--import"
FLAGS: Final = {"--json": "json"}

EPILOG: Final = (
    "Everywhere on the line: --store URL (or EVENTCORE_STORE; default sqlite:///eventcore.db), "
    "--views URL (default: beside the log), --archive FOLDER|s3://… (or EVENTCORE_ARCHIVE; what "
    "was trimmed from the log), --json (JSON lines on standard output), "
    "--import MODULE (or EVENTCORE_IMPORT; events, aggregates and PROJECTIONS of your own)."
)


@dataclass(slots=True)
class Options:
    """The shared options of one call.

    Attributes:
        store: URL of the log, else ``EVENTCORE_STORE``.
        views: URL of the read models, else those beside the log.
        archive: Where the log's archive is, else ``EVENTCORE_ARCHIVE``.
        json: Print JSON lines.
        imports: Modules of the user's own, else those of ``EVENTCORE_IMPORT``.
    """

    store: str | None = None
    views: str | None = None
    archive: str | None = None
    json: bool = False
    imports: list[str] = field(default_factory=list)

    @property
    def modules(self) -> list[str]:
        """Names of the user's own modules, from these options or the environment."""
        named = os.environ.get("EVENTCORE_IMPORT", "").split(",")
        return self.imports or [name.strip() for name in named if name.strip()]

    @property
    def interactive(self) -> bool:
        """Whether a person watches: progress is drawn on standard error only then."""
        return sys.stderr.isatty() and not self.json

    def settings(self) -> Settings:
        """Settings from these options and the environment."""
        from eventcore.settings import Settings  # noqa: PLC0415 - help and version need no settings

        return Settings.load(store=self.store, views=self.views, archive=self.archive)

    def open(self, *, create: bool = True) -> App:
        """Open the application that the options name, with the user's own read models.

        Args:
            create: Create what is missing, unless the URL forbids it; else only look.
        """
        from eventcore.settings import without_creating  # noqa: PLC0415 - see settings

        own = projections_with(self.modules) if self.modules else None
        settings = self.settings()
        if not create:
            views = None if settings.views is None else without_creating(settings.views)
            settings = replace(settings, store=without_creating(settings.store), views=views)
        return open_store(settings, own)


def open_store(settings: Settings, projections: list[Projection] | None = None) -> App:
    """Open an application; events of unknown types can be read.

    Args:
        settings: What to open.
        projections: The read models it keeps; the built-in ones by default.
    """
    from eventcore.app import open_app  # noqa: PLC0415 - help and version open nothing
    from eventcore.events.codec import Codec  # noqa: PLC0415

    return open_app(settings=settings, codec=Codec(allow_unknown=True), projections=projections)


OPTIONS: Final = Options()
"""Of the call that is running: a process runs one."""


def take_shared(arguments: list[str]) -> list[str]:
    """Set :data:`OPTIONS` from the arguments and give back the rest, in order.

    Raises:
        ConfigurationError: An option that needs a URL or a module has none.
    """
    OPTIONS.store = OPTIONS.views = OPTIONS.archive = None
    OPTIONS.imports = []
    # Before anything can go wrong: an error about the options is already in the form asked for.
    OPTIONS.json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    rest: list[str] = []
    queue = deque(arguments)
    while queue:
        argument = queue.popleft()
        name, equals, value = argument.partition("=")
        if argument == "--":
            rest += [argument, *queue]
        elif argument in FLAGS:
            continue
        elif argument == "--views" and rest[:1] == ["verify"] and not _is_url(queue):
            rest.append(argument)  # of this command alone it is a question, too
        elif name in WITH_VALUE or name == IMPORT:
            _take_value(name, value if equals else (queue.popleft() if queue else None))
        else:
            rest.append(argument)
    return rest


def _is_url(queue: deque[str]) -> bool:
    return bool(queue) and "://" in queue[0]


def _take_value(name: str, given: str | None) -> None:
    if not given or given in FLAGS or given in WITH_VALUE or given == IMPORT:
        needed = "a module, e.g. --import shop.events"
        if name != IMPORT:
            needed = f"a URL, e.g. {name} {URL_EXAMPLES.get(name, 'sqlite:///shop.db')}"
        raise ConfigurationError(message=f"{name} needs {needed}")
    if name == IMPORT:
        OPTIONS.imports.append(given)
    else:
        setattr(OPTIONS, WITH_VALUE[name], given)
