"""Which SQLite files a store consists of, and whether two names mean one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from eventcore.errors import ConfigurationError
from eventcore.settings import Settings, parse_store_url

_BESIDE: Final = ("-wal", "-shm", "-journal")
"""What SQLite adds to the name of a database for the files it keeps beside it."""


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


def files_in_use(settings: Settings) -> dict[Path, str]:
    """Every file that a store may write, there or not, and what it is; in memory none."""
    found: dict[Path, str] = {}
    for url, what in ((settings.views, "the read models"), (settings.store, "the store")):
        if url is None or parse_store_url(url).scheme != "sqlite":
            continue
        path = os.path.realpath(_path(url))
        found[Path(path)] = f"the file of {what}"
        for suffix in _BESIDE:
            found[Path(path + suffix)] = f"a file of SQLite beside {what}"
    return found


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two names mean one file, or would if it were there: through links of either kind."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False  # one of them is not there, or not for us to see


def _path(url: str) -> Path:
    location = parse_store_url(url)
    if location.scheme != "sqlite":
        raise ConfigurationError(
            message=f"{location.scheme}:// is kept in no file, this is about SQLite"
        )
    return Path(location.path)
