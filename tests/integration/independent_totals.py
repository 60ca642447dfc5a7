"""What a correct import of each third-party data set must reach, worked out from the source file.

An independent path on purpose: plain csv, json, gzip and Decimal, and nothing of the package or of
the example scripts, so that a mistake made there is not made here again. Times are texts as the
wire has them (``2010-12-01T08:26:00.000000Z``), amounts are Decimal. What a function returns is
cached and shared: read it, do not change it.
"""

import csv
import gzip
import io
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from email_validator import EmailNotValidError, validate_email

ONLINE_RETAIL = "orders/online_retail_2010-12_to_2011-08.csv.gz"
PEOPLE = "users/splink_fake_1000.csv"
WEB_LOG = "sessions/nasa_http_1995-08-01.tsv.gz"
WEBHOOKS = "webhooks/github_payloads.jsonl.gz"
MODEL_RUNS = "ml/amlb_2019_runs_1h.csv.gz"

STAND_IN_TIME = datetime(2020, 1, 1, tzinfo=UTC)
"""What the scripts take for the two sources that have no times, unless told otherwise."""


def _text(path: Path, encoding: str = "utf-8") -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode(encoding)


def _csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_text(path), newline="")))


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- Online Retail: orders ---------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """A sale invoice: its lines are (product, quantity, price) in file order."""

    user_id: str | None
    created_at: str
    lines: tuple[tuple[str, int, Decimal], ...]

    @cached_property
    def total(self) -> Decimal:
        exact = sum((quantity * price for _, quantity, price in self.lines), Decimal(0))
        # Half up, by whole pence: add half a penny and cut. Amounts below zero go the other way.
        pence = int(abs(exact) * 100 + Decimal("0.5"))
        return Decimal(pence if exact >= 0 else -pence) / 100

    @cached_property
    def refusal(self) -> str | None:
        """Reason code of the rule that it breaks first: lines in order, then the total."""
        for _, quantity, price in self.lines:
            if quantity <= 0:
                return "invalid-quantity"
            if price < 0:
                return "invalid-price"
        return None if self.total > 0 else "amount-not-positive"


@dataclass(frozen=True)
class RetailTotals:
    """Every sale invoice by number, in order of first appearance, whether or not it is accepted."""

    sales: dict[str, Order]

    @property
    def emitted(self) -> int:
        return len(self.sales)

    @cached_property
    def orders(self) -> dict[str, Order]:
        """The accepted ones."""
        return {number: order for number, order in self.sales.items() if not order.refusal}

    @property
    def accepted(self) -> int:
        return len(self.orders)

    @cached_property
    def refused(self) -> dict[str, str]:
        """Reason code of each invoice that must be rejected, by its number."""
        refusals = {number: order.refusal for number, order in self.sales.items()}
        return {number: reason for number, reason in refusals.items() if reason}

    @property
    def rejected(self) -> dict[str, int]:
        return dict(Counter(self.refused.values()))

    @property
    def items(self) -> int:
        return sum(len(order.lines) for order in self.orders.values())

    @property
    def revenue(self) -> Decimal:
        return sum((order.total for order in self.orders.values()), Decimal(0))

    @property
    def revenue_by_month(self) -> dict[str, Decimal]:
        """Keys are months in UTC, ``2010-12``."""
        return self._revenue_by_time(len("2010-12"))

    @property
    def revenue_by_day(self) -> dict[str, Decimal]:
        """Keys are days in UTC, ``2010-12-01``."""
        return self._revenue_by_time(len("2010-12-01"))

    def _revenue_by_time(self, length: int) -> dict[str, Decimal]:
        totals: defaultdict[str, Decimal] = defaultdict(Decimal)
        for order in self.orders.values():
            totals[order.created_at[:length]] += order.total
        return dict(totals)

    @cached_property
    def revenue_by_customer(self) -> dict[str, Decimal]:
        totals: defaultdict[str, Decimal] = defaultdict(Decimal)
        for order in self.orders.values():
            if order.user_id:
                totals[order.user_id] += order.total
        return dict(totals)

    def top_customers(self, count: int = 10) -> list[tuple[str, Decimal]]:
        """Customers who bought most, largest first."""
        ranked = sorted(self.revenue_by_customer.items(), key=lambda pair: (-pair[1], pair[0]))
        return ranked[:count]


@cache
def online_retail(path: Path) -> RetailTotals:
    lines_of: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _csv(path):
        if row["InvoiceNo"][0] not in "CA":
            lines_of[row["InvoiceNo"]].append(row)
    return RetailTotals({number: _order(rows) for number, rows in lines_of.items()})


def _order(rows: list[dict[str, str]]) -> Order:
    local = datetime.strptime(rows[0]["InvoiceDate"], "%Y-%m-%d %H:%M:%S")
    # The file runs from December to August: the clocks changed once, on this night.
    hours_ahead = 1 if local >= datetime(2011, 3, 27, 2) else 0
    return Order(
        user_id=rows[0]["CustomerID"] or None,
        created_at=_utc(local - timedelta(hours=hours_ahead)),
        lines=tuple(
            (row["StockCode"], int(row["Quantity"]), Decimal(row["UnitPrice"])) for row in rows
        ),
    )


# --- Splink's people: users --------------------------------------------------------------------


@dataclass(frozen=True)
class PeopleTotals:
    """Every registration as the payload that must be printed, and why some must be rejected."""

    registrations: dict[str, dict[str, str]]
    refused: dict[str, str]

    @property
    def emitted(self) -> int:
        return len(self.registrations)

    @property
    def users(self) -> dict[str, dict[str, str]]:
        """The accepted ones by user id."""
        return {key: row for key, row in self.registrations.items() if key not in self.refused}

    @property
    def accepted(self) -> int:
        return len(self.users)

    @property
    def rejected(self) -> dict[str, int]:
        return dict(Counter(self.refused.values()))


@cache
def people(path: Path) -> PeopleTotals:
    registrations: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}
    taken: set[str] = set()
    for row in _csv(path):
        named = {
            "userId": row["unique_id"],
            "email": row["email"],
            "firstName": row["first_name"],
            "lastName": row["surname"],
        }
        user_id = row["unique_id"]
        registrations[user_id] = {name: text for name, text in named.items() if text}
        email = row["email"].strip().lower()
        if not row["email"]:
            refused[user_id] = "missing-field"
        elif not _is_email(email):
            refused[user_id] = "invalid-email"
        elif email in taken:
            refused[user_id] = "email-taken"
        else:
            taken.add(email)
    return PeopleTotals(registrations, refused)


def _is_email(text: str) -> bool:
    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


# --- NASA's web log: sessions ------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """Requests of one host without a silence of more than 30 minutes.

    Activities are (time, method, url, response, bytes) in order.
    """

    host: str
    started_at: str
    ended_at: str
    activities: tuple[tuple[str, str, str, int, int], ...]

    @property
    def session_id(self) -> str:
        """The host and the epoch second of the first request: ``vcc7.langara.bc.ca#807256804``."""
        return f"{self.host}#{int(datetime.fromisoformat(self.started_at).timestamp())}"


@dataclass(frozen=True)
class WebTotals:
    """Sessions in order of host and time. None of their events may be rejected."""

    sessions: tuple[Session, ...]

    @property
    def hosts(self) -> int:
        return len({session.host for session in self.sessions})

    @property
    def emitted_by_type(self) -> dict[str, int]:
        return {
            "session.started": len(self.sessions),
            "session.activity": sum(len(session.activities) for session in self.sessions),
            "session.ended": len(self.sessions),
        }

    @property
    def emitted(self) -> int:
        return sum(self.emitted_by_type.values())

    accepted = emitted


@cache
def web_sessions(path: Path) -> WebTotals:
    rows_of: defaultdict[str, list[list[str]]] = defaultdict(list)
    for line in _text(path, "latin-1").split("\n")[1:]:
        if line:
            fields = line.split("\t")
            rows_of[fields[0]].append(fields)
    sessions: list[Session] = []
    for host in sorted(rows_of):
        rows = rows_of[host]
        breaks = [
            place
            for place, (before, after) in enumerate(pairwise(rows), start=1)
            if int(after[2]) - int(before[2]) > 1800
        ]
        for start, end in pairwise([0, *breaks, len(rows)]):
            sessions.append(_session(rows[start:end]))
    return WebTotals(tuple(sessions))


def _session(rows: list[list[str]]) -> Session:
    activities = tuple((_epoch(row[2]), row[3], row[4], int(row[5]), int(row[6])) for row in rows)
    return Session(rows[0][0], activities[0][0], activities[-1][0], activities)


def _epoch(seconds: str) -> str:
    return _utc(datetime(1970, 1, 1) + timedelta(seconds=int(seconds)))


# --- GitHub's webhooks -------------------------------------------------------------------------


@dataclass(frozen=True)
class WebhookTotals:
    """(event name, payload) of every line in order. None may be rejected."""

    webhooks: tuple[tuple[str, dict[str, Any]], ...]

    @property
    def emitted(self) -> int:
        return len(self.webhooks)

    accepted = emitted

    @property
    def by_event(self) -> dict[str, int]:
        return dict(Counter(name for name, _ in self.webhooks))


@cache
def github_webhooks(path: Path) -> WebhookTotals:
    lines = [json.loads(line, parse_float=Decimal) for line in _text(path).splitlines()]
    return WebhookTotals(tuple((line["event"], line["payload"]) for line in lines))


# --- The AutoML benchmark: models --------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """A run with a result; metrics are the exact decimals of the file."""

    trained_at: str
    metrics: dict[str, Decimal]
    dataset: str


@dataclass(frozen=True)
class ModelTotals:
    """Models by (framework, task), versions by (framework, task, fold). None may be rejected."""

    registered_at: dict[tuple[str, str], str]
    type_of: dict[tuple[str, str], str]
    versions: dict[tuple[str, str, str], Version]
    failed: int

    @property
    def emitted_by_type(self) -> dict[str, int]:
        return {
            "ml.model.registered": len(self.registered_at),
            "ml.model.version_trained": len(self.versions),
        }

    @property
    def emitted(self) -> int:
        return sum(self.emitted_by_type.values())

    accepted = emitted

    @property
    def untrained(self) -> set[tuple[str, str]]:
        """Models all of whose runs failed: registered, and without a version."""
        return set(self.registered_at) - {key[:2] for key in self.versions}


@cache
def amlb_models(path: Path) -> ModelTotals:
    rows = _csv(path)
    times: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        times[row["framework"], row["task"]].append(row["utc"] + ".000000Z")
    names = ("acc", "auc", "logloss", "result", "score", "norm_score")
    done = [row for row in rows if row["result"]]
    return ModelTotals(
        registered_at={key: min(moments) for key, moments in times.items()},
        type_of={(row["framework"], row["task"]): row["type"] for row in rows},
        versions={
            (row["framework"], row["task"], row["fold"]): Version(
                trained_at=row["utc"] + ".000000Z",
                metrics={name: Decimal(row[name]) for name in names if row[name]},
                dataset=row["id"],
            )
            for row in done
        },
        failed=len(rows) - len(done),
    )
