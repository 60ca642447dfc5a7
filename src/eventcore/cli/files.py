"""Which SQLite files a store consists of."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from eventcore.errors import ConfigurationError
from eventcore.settings import Settings, parse_store_url


class StoreFile(NamedTuple):
    """One file.

    Attributes:
        path: Where it is; it may be missing.
        log: Whether the log is in it.
        views: Whether the read models are.
    """

    path: Path
    log: bool
    views: bool


def store_files(settings: Settings) -> list[StoreFile]:
    """The files of a store.

    Raises:
        ConfigurationError: It is not kept in files.
    """
    log = _path(settings.store)
    views = _path(settings.views) if settings.views else log
    if views == log:
        return [StoreFile(log, log=True, views=True)]
    return [StoreFile(log, log=True, views=False), StoreFile(views, log=False, views=True)]


def _path(url: str) -> Path:
    location = parse_store_url(url)
    if location.scheme != "sqlite":
        raise ConfigurationError(
            message=f"{location.scheme}:// is kept in no file, this is about SQLite"
        )
    return Path(location.path)
