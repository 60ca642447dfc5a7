"""Settings: what an application is opened with, from a URL and the environment, fixed from then on.

=============================  ===================================================================
variable                       what it sets
=============================  ===================================================================
``EVENTCORE_STORE``            URL of the log; ``sqlite:///eventcore.db`` by default
``EVENTCORE_VIEWS``            URL of the read models; beside the log by default
``EVENTCORE_ENVIRONMENT``      where this runs, e.g. ``production``: recorded with every event
``EVENTCORE_REGION``           e.g. ``eu-west-1``, else ``AWS_REGION``: recorded with every event
``EVENTCORE_SOURCE``           name of this producer: recorded with every event
``EVENTCORE_RESERVATION_KEY``  secret of the digests that reserve e-mail addresses
=============================  ===================================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from eventcore.errors import ConfigurationError

STORE_DEFAULT: Final = "sqlite:///eventcore.db"

_FORMS: Final = "memory://, sqlite:///relative.db, sqlite:////absolute.db"
_LATER: Final = {"postgresql": "postgres", "postgres": "postgres", "dynamodb": "dynamodb"}
_YES_NO: Final = {"yes": True, "no": False}
_SYNCHRONOUS: Final[dict[str, Literal["FULL", "NORMAL"]]] = {"full": "FULL", "normal": "NORMAL"}
_OPTIONS: Final[dict[str, dict[str, list[str]]]] = {
    "memory": {},
    "sqlite": {"synchronous": list(_SYNCHRONOUS), "create": list(_YES_NO)},
}


class StoreLocation(NamedTuple):
    """What a store's URL says.

    Attributes:
        scheme: ``memory`` or ``sqlite``.
        path: Of the file; empty for memory.
        synchronous: Whether a commit survives power loss (``FULL``) or only a crash (``NORMAL``).
        create: Create missing tables.
    """

    scheme: str
    path: str = ""
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    create: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an application is opened with. Secrets stay out of its representation.

    Attributes:
        store: URL of the log.
        views: URL of the read models; None: beside the log.
        environment, region, source: Recorded with every event whose context says nothing else.
        reservation_key: Secret of the digests that reserve values such as e-mail addresses. The
            same for every writer of a log, for ever: with another one no reservation is found.
    """

    store: str = STORE_DEFAULT
    views: str | None = None
    environment: str | None = None
    region: str | None = None
    source: str | None = None
    reservation_key: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse URLs that no store understands.

        Raises:
            ConfigurationError: Which part of which URL is wrong, and what would be right.
        """
        parse_store_url(self.store)
        if self.views is not None:
            parse_store_url(self.views)

    @classmethod
    def load(
        cls,
        *,
        store: str | None = None,
        views: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Settings:
        """Settings from the environment; the arguments win over it. An empty variable is absent.

        Raises:
            ConfigurationError: A URL is not understood.
        """

        def read(name: str) -> str | None:
            return environ.get(name) or None

        return cls(
            store=store or read("EVENTCORE_STORE") or STORE_DEFAULT,
            views=views or read("EVENTCORE_VIEWS"),
            environment=read("EVENTCORE_ENVIRONMENT"),
            region=read("EVENTCORE_REGION") or read("AWS_REGION"),
            source=read("EVENTCORE_SOURCE"),
            reservation_key=(read("EVENTCORE_RESERVATION_KEY") or "").encode(),
        )


def parse_store_url(url: str) -> StoreLocation:
    """Take a store's URL apart.

    Args:
        url: ``memory://``, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, the latter two
            perhaps with ``?synchronous=full|normal&create=yes|no``. Odd characters in a path are
            percent-encoded.

    Raises:
        ConfigurationError: Which part is wrong and what would be right. Passwords are not repeated.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # Such as an open bracket. The cause is left out: it repeats a part of the URL.
        raise ConfigurationError(
            message=f"A store's URL is of one of these forms: {_FORMS}; this one is no URL"
        ) from None
    scheme = parts.scheme
    if scheme in _LATER:
        raise ConfigurationError(
            message=(
                f"{scheme}:// is not supported in this version of eventcore; it will need "
                f"pip install 'eventcore-es[{_LATER[scheme]}]'. Use one of: {_FORMS}"
            )
        )
    if scheme not in {"memory", "sqlite"} or not url.startswith(f"{scheme}://"):
        raise ConfigurationError(
            message=f"A store's URL begins with one of: {_FORMS}; this one begins with {scheme!r}"
        )
    if parts.fragment or parts.netloc:
        raise ConfigurationError(
            message=(
                f"{scheme}:// takes no host and no fragment: a file is named after three slashes, "
                "sqlite:///shop.db, and # is written as %23"
            )
        )
    options = _options(scheme, parts.query)
    path = unquote(parts.path)
    if scheme == "memory":
        if path:
            raise ConfigurationError(message="memory:// takes no path: every log is one of its own")
        return StoreLocation(scheme)
    if path in {"", "/", "/:memory:"}:
        raise ConfigurationError(
            message="sqlite:// needs a file: sqlite:///shop.db. For one in memory use memory://"
        )
    return StoreLocation(
        scheme,
        path.removeprefix("/"),
        _SYNCHRONOUS[options.get("synchronous", "full")],
        _YES_NO[options.get("create", "yes")],
    )


def _options(scheme: str, query: str) -> dict[str, str]:
    known = _OPTIONS[scheme]
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(
                message=f"{scheme}:// has no option {name!r}. Known: {', '.join(known) or 'none'}"
            )
        if value.lower() not in known[name]:
            raise ConfigurationError(
                message=f"{name} is one of {', '.join(known[name])}, not {value!r}"
            )
        options[name] = value.lower()
    return options
