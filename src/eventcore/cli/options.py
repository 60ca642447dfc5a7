"""Options that every command shares; they may stand anywhere on the line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from eventcore.app import App
    from eventcore.settings import Settings

WITH_VALUE: Final = {"--store": "store", "--views": "views"}
FLAGS: Final = {"--json": "json"}

EPILOG: Final = (
    "Everywhere on the line: --store URL (or EVENTCORE_STORE; default sqlite:///eventcore.db), "
    "--views URL (default: beside the log), --json (JSON lines on standard output)."
)


@dataclass(slots=True)
class Options:
    """The shared options of one call.

    Attributes:
        store: URL of the log, else ``EVENTCORE_STORE``.
        views: URL of the read models, else those beside the log.
        json: Print JSON lines.
    """

    store: str | None = None
    views: str | None = None
    json: bool = False

    @property
    def interactive(self) -> bool:
        """Whether a person watches: progress is drawn on standard error only then."""
        return sys.stderr.isatty() and not self.json

    def settings(self) -> Settings:
        """Settings from these options and the environment."""
        from eventcore.settings import Settings  # noqa: PLC0415 - help and version need no settings

        return Settings.load(store=self.store, views=self.views)

    def open(self) -> App:
        """Open the application that the options name; events of unknown types can be read."""
        return open_store(self.settings())


def open_store(settings: Settings) -> App:
    """Open an application; events of unknown types can be read."""
    from eventcore.app import open_app  # noqa: PLC0415 - help and version open nothing
    from eventcore.events.codec import Codec  # noqa: PLC0415

    return open_app(settings=settings, codec=Codec(allow_unknown=True))


OPTIONS: Final = Options()
"""Of the call that is running: a process runs one."""


def take_shared(arguments: list[str]) -> list[str]:
    """Set :data:`OPTIONS` from the arguments and give back the rest, in order.

    Raises:
        ConfigurationError: An option that needs a URL has none.
    """
    OPTIONS.store = OPTIONS.views = None
    # Before anything can go wrong: an error about the options is already in the form asked for.
    OPTIONS.json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    rest: list[str] = []
    queue = iter(arguments)
    for argument in queue:
        name, equals, value = argument.partition("=")
        if argument == "--":
            rest += [argument, *queue]
        elif argument in FLAGS:
            continue
        elif name in WITH_VALUE:
            given = value if equals else next(queue, None)
            if not given or given in FLAGS or given in WITH_VALUE:
                raise ConfigurationError(
                    message=f"{name} needs a URL, e.g. {name} sqlite:///shop.db"
                )
            setattr(OPTIONS, WITH_VALUE[name], given)
        else:
            rest.append(argument)
    return rest
