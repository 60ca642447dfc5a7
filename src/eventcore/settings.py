"""Settings: what an application is opened with, from a URL and the environment, fixed from then on.

=============================  ===================================================================
variable                       what it sets
=============================  ===================================================================
``EVENTCORE_STORE``            URL of the log; ``sqlite:///eventcore.db`` by default
``EVENTCORE_VIEWS``            URL of the read models; beside the log by default
``EVENTCORE_ARCHIVE``          the archive that holds what was trimmed from the log
``EVENTCORE_ENVIRONMENT``      where this runs, e.g. ``production``: recorded with every event
``EVENTCORE_REGION``           e.g. ``eu-west-1``, else ``AWS_REGION``: recorded with every event
``EVENTCORE_SOURCE``           name of this producer: recorded with every event
``EVENTCORE_RESERVATION_KEY``  secret of the digests that reserve e-mail addresses
``EVENTCORE_LEASE_SECONDS``    lease of a worker, for ``eventcore projections run --workers``
``EVENTCORE_TELEMETRY``        ``yes``: spans and metrics through OpenTelemetry
=============================  ===================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from typing_extensions import override

from eventcore.errors import ConfigurationError

STORE_DEFAULT: Final = "sqlite:///eventcore.db"

SCHEMA_DEFAULT: Final = "public"
"""Where the tables are in Postgres, unless the URL says ``schema=``."""

SCHEMA_LENGTH_MAX: Final = 63
"""Bytes in a name (PostgreSQL manual, "Limits": identifier length)."""

POOL_SIZE_DEFAULT: Final = 10
"""Connections for reading and for read models that one process opens at most."""

LEASE_SECONDS: Final = 10.0
"""In so many seconds the share of a worker that was killed is taken over by another."""

LEASE_SECONDS_VARIABLE: Final = "EVENTCORE_LEASE_SECONDS"
"""Sets another number for ``eventcore projections run --workers``."""

LEASE_SECONDS_MIN: Final = 0.5
LEASE_SECONDS_MAX: Final = 3_600.0
"""A shorter lease would end while a busy machine does other things; nobody waits for a longer."""

SHARES_DEFAULT: Final = 16
"""Shares of a read model that several workers keep. Each is one more checkpoint to move with every
page."""

SHARES_MAX: Final = 64
"""One transaction moves them all: DynamoDB takes 100 actions (AWS, "TransactWriteItems")."""

WORKERS_MAX: Final = SHARES_MAX
"""More workers than shares would have nothing to do."""

REPLAY_PROCESSES_MAX: Final = 256
"""Processes of one replay on one machine: nothing has more shards to give them."""

_FORMS: Final = (
    "memory://, sqlite:///relative.db, sqlite:////absolute.db, "
    "postgresql://user:password@host/database, dynamodb://table?region=name"
)
PREFIX_DEFAULT: Final = "log"
"""Name of the log within its table in DynamoDB, unless the URL says ``prefix=``."""

_POSTGRES: Final = ("postgresql", "postgres")
_YES_NO: Final = {"yes": True, "no": False}
_SYNCHRONOUS: Final[dict[str, Literal["FULL", "NORMAL"]]] = {"full": "FULL", "normal": "NORMAL"}
_OPTIONS: Final[dict[str, dict[str, list[str]]]] = {
    "memory": {},
    "sqlite": {"synchronous": list(_SYNCHRONOUS), "create": list(_YES_NO)},
    "postgresql": {
        "schema": [],
        "create": list(_YES_NO),
        "notify": list(_YES_NO),
        "prepare": list(_YES_NO),
        "pool": [],
    },
    "dynamodb": {
        "region": [],
        "endpoint_url": [],
        "prefix": [],
        "create": list(_YES_NO),
        "ttl": list(_YES_NO),
    },
}
# Table: AWS, DynamoDB Developer Guide, "Naming rules". In keys, # stands behind the prefix.
_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class StoreLocation(NamedTuple):
    """What a store's URL says.

    Attributes:
        scheme: ``memory``, ``sqlite``, ``postgresql`` or ``dynamodb``.
        path: Of the file; empty for others.
        synchronous: Whether a commit survives power loss (``FULL``) or only a crash (``NORMAL``).
        create: Create missing tables.
        conninfo: What libpq is given: the URL of a Postgres server without our own options.
        schema: Where the tables are in that database.
        notify: Wake followers by NOTIFY; without it they look twice a second.
        prepare: Use prepared statements.
        pool: Connections opened at most.
        table: Name of the log's table in DynamoDB.
        region: Of that table; None: where boto3 finds one.
        endpoint_url: Where the service is; None: the region's own.
        prefix: Name of the log within its table.
        ttl: Rows of read models there expire; without, they stay until they are told to go.
    """

    scheme: str
    path: str = ""
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    create: bool = True
    conninfo: str = ""
    schema: str = SCHEMA_DEFAULT
    notify: bool = True
    prepare: bool = True
    pool: int = POOL_SIZE_DEFAULT
    table: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    prefix: str = PREFIX_DEFAULT
    ttl: bool = True

    @property
    def view_tables(self) -> str:
        """What the names of the read models' tables in DynamoDB begin with."""
        named = "" if self.prefix == PREFIX_DEFAULT else f"{self.prefix}-"
        return f"{self.table}-{named}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """What an application is opened with. Secrets stay out of its representation.

    Attributes:
        store: URL of the log.
        views: URL of the read models; None: beside the log.
        archive: Folder or ``s3://`` URL of the log's archive; None: the log alone is read.
        environment, region, source: Recorded with every event whose context says nothing else.
        reservation_key: Secret of the digests that reserve values such as e-mail addresses. The
            same for every writer of a log, for ever: with another one no reservation is found.
        telemetry: Give spans and metrics to OpenTelemetry's own providers.
    """

    store: str = STORE_DEFAULT
    views: str | None = None
    archive: str | None = None
    environment: str | None = None
    region: str | None = None
    source: str | None = None
    reservation_key: bytes = b""
    telemetry: bool = False

    def __post_init__(self) -> None:
        """Refuse URLs that no store understands.

        Raises:
            ConfigurationError: Which part of which URL is wrong, and what would be right.
        """
        parse_store_url(self.store)
        if self.views is not None:
            parse_store_url(self.views)

    @override
    def __repr__(self) -> str:
        views = None if self.views is None else without_password(self.views)
        return (
            f"Settings(store={without_password(self.store)!r}, views={views!r}, "
            f"archive={self.archive!r}, environment={self.environment!r}, "
            f"region={self.region!r}, source={self.source!r})"
        )

    @classmethod
    def load(
        cls,
        *,
        store: str | None = None,
        views: str | None = None,
        archive: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Settings:
        """Settings from the environment; the arguments win over it. An empty variable is absent.

        Raises:
            ConfigurationError: A URL or a value is not understood.
        """

        def read(name: str) -> str | None:
            return environ.get(name) or None

        return cls(
            store=store or read("EVENTCORE_STORE") or STORE_DEFAULT,
            views=views or read("EVENTCORE_VIEWS"),
            archive=archive or read("EVENTCORE_ARCHIVE"),
            environment=read("EVENTCORE_ENVIRONMENT"),
            region=read("EVENTCORE_REGION") or read("AWS_REGION"),
            source=read("EVENTCORE_SOURCE"),
            reservation_key=(read("EVENTCORE_RESERVATION_KEY") or "").encode(),
            telemetry=_yes_or_no("EVENTCORE_TELEMETRY", read("EVENTCORE_TELEMETRY")),
        )


def _yes_or_no(name: str, value: str | None) -> bool:
    if value is not None and value.lower() not in _YES_NO:
        raise ConfigurationError(message=f"{name} is yes or no, not {value!r}")
    return value is not None and _YES_NO[value.lower()]


def without_password(url: str) -> str:
    """A store's URL as it may be printed: what could be a secret is replaced by ``***``."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        login, _, host = parts.netloc.rpartition("@")
        user, colon, _ = login.partition(":")
        parts = parts._replace(netloc=f"{user}:***@{host}" if colon else f"{user}@{host}")
    if "password=" in parts.query:
        kept = [
            (name, "***" if name.endswith("password") else value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        ]
        parts = parts._replace(query=urlencode(kept, quote_via=quote, safe="*"))
    return _url_of(parts) if parts != urlsplit(url) else url


def without_creating(url: str) -> str:
    """A store's URL for one who only looks: with ``create=no``, whatever it says itself."""
    parts = urlsplit(url)
    if "create" not in _OPTIONS["postgresql" if parts.scheme in _POSTGRES else parts.scheme]:
        return url
    # Of an option that is given twice the last one counts.
    query = f"{parts.query}&create=no" if parts.query else "create=no"
    return _url_of(parts._replace(query=query))


def parse_store_url(url: str) -> StoreLocation:
    """Take a store's URL apart.

    Args:
        url: ``memory://``, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, the latter two
            perhaps with ``?synchronous=full|normal&create=yes|no``; or
            ``postgresql://user:password@host:port/database``, perhaps with
            ``?schema=NAME&create=yes|no&notify=yes|no&prepare=yes|no&pool=N`` and any parameter
            of libpq (``sslmode``, …); or ``dynamodb://table``, perhaps with
            ``?region=NAME&endpoint_url=URL&prefix=NAME&create=yes|no&ttl=yes|no``. Odd
            characters are percent-encoded.

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
    if scheme in _POSTGRES and url.startswith(f"{scheme}://"):
        return _postgres_location(parts)
    if scheme == "dynamodb" and url.startswith("dynamodb://"):
        return _dynamodb_location(parts)
    if scheme not in {"memory", "sqlite"} or not url.startswith(f"{scheme}://"):
        raise ConfigurationError(
            message=f"A store's URL begins with one of: {_FORMS}; this one begins with {scheme!r}"
        )
    return _embedded_location(parts)


def _embedded_location(parts: SplitResult) -> StoreLocation:
    scheme = parts.scheme
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


def _postgres_location(parts: SplitResult) -> StoreLocation:
    if parts.fragment:
        raise ConfigurationError(message="postgresql:// takes no fragment: # is written as %23")
    known = _OPTIONS["postgresql"]
    query = parse_qsl(parts.query, keep_blank_values=True)
    ours = urlencode([(name, value) for name, value in query if name in known])
    options = _options("postgresql", ours)
    # libpq reads %20, not +, as a space.
    theirs = urlencode([pair for pair in query if pair[0] not in known], quote_via=quote)
    schema = options.get("schema", SCHEMA_DEFAULT)
    if not 0 < len(schema.encode()) <= SCHEMA_LENGTH_MAX or "\0" in schema:
        raise ConfigurationError(message=f"schema is a name of 1 to {SCHEMA_LENGTH_MAX} bytes")
    if schema.startswith("pg_") or schema == "information_schema":
        raise ConfigurationError(message=f"schema {schema!r} belongs to Postgres itself")
    pool = options.get("pool", str(POOL_SIZE_DEFAULT))
    if not (pool.isascii() and pool.isdecimal() and int(pool) > 0):
        raise ConfigurationError(message=f"pool is a number of connections, not {pool!r}")
    return StoreLocation(
        "postgresql",
        create=_YES_NO[options.get("create", "yes")],
        conninfo=_url_of(parts._replace(scheme="postgresql", query=theirs)),
        schema=schema,
        notify=_YES_NO[options.get("notify", "yes")],
        prepare=_YES_NO[options.get("prepare", "yes")],
        pool=int(pool),
    )


def _url_of(parts: SplitResult) -> str:
    # Without a host, as a socket has none, ``geturl`` leaves out two slashes that libpq needs.
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"


def _dynamodb_location(parts: SplitResult) -> StoreLocation:
    options = _options("dynamodb", parts.query)
    if parts.path or parts.fragment:
        raise ConfigurationError(
            message="dynamodb:// takes a table and options only: dynamodb://table?region=name"
        )
    if not _TABLE_NAME.fullmatch(parts.netloc):
        raise ConfigurationError(
            message="dynamodb:// needs a table's name: 3 to 255 letters, digits, _ . or -"
        )
    prefix = options.get("prefix", PREFIX_DEFAULT)
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(message="prefix has 1 to 64 letters, digits, _ . or -")
    return StoreLocation(
        "dynamodb",
        create=_YES_NO[options.get("create", "yes")],
        table=parts.netloc,
        region=options.get("region") or None,
        endpoint_url=options.get("endpoint_url") or None,
        prefix=prefix,
        ttl=_YES_NO[options.get("ttl", "yes")],
    )


def _options(scheme: str, query: str) -> dict[str, str]:
    known = _OPTIONS[scheme]
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(
                message=f"{scheme}:// has no option {name!r}. Known: {', '.join(known) or 'none'}"
            )
        if not known[name]:
            options[name] = value
            continue
        if value.lower() not in known[name]:
            raise ConfigurationError(
                message=f"{name} is one of {', '.join(known[name])}, not {value!r}"
            )
        options[name] = value.lower()
    return options
