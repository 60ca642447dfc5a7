"""A shop: what its customers, its staff and its models do all day, as commands."""

from __future__ import annotations

import random  # noqa: TID251 - who comes in next is chance; what is stored folds the same way every time
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from typing_extensions import override

from eventcore import commands
from eventcore.app import App
from eventcore.cli.options import open_store
from eventcore.errors import ConcurrencyConflictError, RetriesExhaustedError, RuleViolationError
from eventcore.events.catalogue import OrderItem
from eventcore.settings import Settings
from eventcore.stores.log import AppendResult, StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog

CURRENCY: Final = "GBP"

KIOSK: Final = "kiosk"
"""One session that all writers use at once: the stream they race for."""

RECOMMENDER: Final = "recommender"
"""One model that all writers train: another."""

NEIGHBOURS: Final = 400
"""So many e-mail addresses are tried by every writer; only one of them gets each."""

_PRODUCTS: Final = tuple(
    (f"product-{number}", Decimal(price))
    for number, price in enumerate(
        ("2.55", "3.39", "7.65", "4.25", "1.85", "12.95", "0.85", "18.00", "6.35", "149.00"),
        start=1,
    )
)
_FIRST_NAMES: Final = (
    "Ada",
    "Alan",
    "Barbara",
    "Edsger",
    "Frances",
    "Grace",
    "Ken",
    "Radia",
    "Tony",
)
_LAST_NAMES: Final = (
    "Allen",
    "Dijkstra",
    "Hoare",
    "Hopper",
    "Liskov",
    "Lovelace",
    "Perlman",
    "Turing",
)
_PAGES: Final = ("home", "search", "product", "basket", "checkout", "help")


class CountingLog(SQLiteLog):
    """A log that counts the appends that came too late: another writer had moved the stream."""

    conflicts = 0

    @override
    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """See :meth:`eventcore.stores.log.Log.append`."""
        try:
            return super().append(appends)
        except ConcurrencyConflictError:
            self.conflicts += 1
            raise


def open_shop(url: str) -> App:
    """Open the demo's store, whatever the user's environment says."""
    return open_store(Settings.load(store=url, environ={}))


class _Deed(NamedTuple):
    weight: int
    possible: Callable[[], bool]
    do: Callable[[], None]


class Shop:
    """Does one thing after another.

    Args:
        app: Where to.
        number: Of the writer: it makes its ids and its choices its own.

    Attributes:
        counts: ``commands`` executed, ``events`` recorded, commands ``refused`` by a rule, and
            those that ``gave_up`` after losing too many races.
    """

    def __init__(self, app: App, number: int) -> None:
        self._app = app
        self._number = number
        self._random = random.Random(number)  # noqa: S311 - customers, not keys
        self._made: Counter[str] = Counter()
        self._users: list[str] = []
        self._sessions: list[str] = []
        self._created: list[tuple[str, Decimal]] = []
        self._paid: list[tuple[str, Decimal]] = []
        self._shipped: list[tuple[str, Decimal]] = []
        self._delivered: list[tuple[str, Decimal]] = []
        self.counts: Counter[str] = Counter(commands=0, events=0, refused=0, gave_up=0)
        self._deeds = self._list_deeds()
        self._weights = [deed.weight for deed in self._deeds]
        self._open()

    def step(self) -> None:
        """Do the next thing that is possible now."""
        while True:
            [deed] = self._random.choices(self._deeds, self._weights)
            if deed.possible():
                deed.do()
                return

    def _list_deeds(self) -> list[_Deed]:
        always = _always
        return [
            _Deed(10, always, self._register),
            _Deed(2, lambda: bool(self._users), self._rename),
            _Deed(8, lambda: bool(self._users), self._start_session),
            _Deed(16, lambda: bool(self._sessions), self._browse),
            _Deed(6, lambda: bool(self._sessions), self._end_session),
            _Deed(14, lambda: bool(self._users), self._order),
            _Deed(12, lambda: bool(self._created), self._pay),
            _Deed(2, lambda: bool(self._created), self._cancel),
            _Deed(10, lambda: bool(self._paid), self._ship),
            _Deed(8, lambda: bool(self._shipped), self._deliver),
            _Deed(2, lambda: bool(self._delivered), self._refund),
            _Deed(14, always, self._touch_kiosk),
            _Deed(4, always, self._train),
        ]

    def _open(self) -> None:
        # Every writer tries; the rule lets the first one in.
        self._execute(commands.StartSession(session_id=KIOSK))
        self._execute(
            commands.RegisterModel(model_id=RECOMMENDER, name="also bought", model_type="matrix")
        )

    def _execute(self, command: Any) -> bool:
        """Execute a command; False if a rule refused it."""
        try:
            result = self._app.execute(command)
        except RuleViolationError:
            self.counts["refused"] += 1
            return False
        except RetriesExhaustedError:
            self.counts["gave_up"] += 1
            return False
        self.counts["commands"] += 1
        self.counts["events"] += len(result.events)
        return True

    def _new_id(self, kind: str) -> str:
        self._made[kind] += 1
        return f"{self._number}{self._made[kind]:05}"

    def _pick(self, kept: list[Any]) -> Any:
        """Take one out, in no order."""
        place = self._random.randrange(len(kept))
        kept[place], kept[-1] = kept[-1], kept[place]
        return kept.pop()

    def _register(self) -> None:
        user_id = self._new_id("user")
        name = user_id
        if self._random.random() < 0.15:  # noqa: PLR2004 - so many try a popular address
            name = f"neighbour{self._random.randrange(NEIGHBOURS)}"
        command = commands.RegisterUser(
            user_id=user_id,
            email=f"{name}@example.com",
            first_name=self._random.choice(_FIRST_NAMES),
            last_name=self._random.choice(_LAST_NAMES),
        )
        if self._execute(command):
            self._users.append(user_id)

    def _rename(self) -> None:
        user_id = self._random.choice(self._users)
        self._execute(
            commands.UpdateProfile(user_id=user_id, last_name=self._random.choice(_LAST_NAMES))
        )

    def _start_session(self) -> None:
        session_id = self._new_id("session")
        user_id = self._random.choice(self._users)
        if self._execute(commands.StartSession(session_id=session_id, user_id=user_id)):
            self._sessions.append(session_id)

    def _browse(self) -> None:
        session_id = self._random.choice(self._sessions)
        self._execute(
            commands.TrackActivity(
                session_id=session_id, action="view", target=self._random.choice(_PAGES)
            )
        )

    def _end_session(self) -> None:
        self._execute(commands.EndSession(session_id=self._pick(self._sessions)))

    def _order(self) -> None:
        order_id = self._new_id("order")
        chosen = self._random.sample(_PRODUCTS, self._random.randint(1, 4))
        items = tuple(
            OrderItem(product_id=product, quantity=self._random.randint(1, 6), price=price)
            for product, price in chosen
        )
        total = sum((item.quantity * item.price for item in items), Decimal(0))
        command = commands.CreateOrder(
            order_id=order_id,
            user_id=self._random.choice(self._users),
            items=items,
            total_amount=total,
            currency=CURRENCY,
        )
        if self._execute(command):
            self._created.append((order_id, total))

    def _pay(self) -> None:
        order_id, total = self._pick(self._created)
        if self._execute(commands.PayOrder(order_id=order_id, amount=total, payment_method="card")):
            self._paid.append((order_id, total))

    def _cancel(self) -> None:
        order_id, _ = self._pick(self._created)
        self._execute(commands.CancelOrder(order_id=order_id, reason="changed my mind"))

    def _ship(self) -> None:
        order = self._pick(self._paid)
        if self._execute(commands.ShipOrder(order_id=order[0], carrier="Bicycle")):
            self._shipped.append(order)

    def _deliver(self) -> None:
        order = self._pick(self._shipped)
        if self._execute(commands.DeliverOrder(order_id=order[0])):
            self._delivered.append(order)

    def _refund(self) -> None:
        order_id, total = self._pick(self._delivered)
        half = (total / 2).quantize(Decimal("0.01"))
        # Twice a half, so that some orders have a longer story to tell.
        self._execute(commands.RefundOrder(order_id=order_id, amount=half, reason="damaged"))
        if total > half:
            self._execute(
                commands.RefundOrder(order_id=order_id, amount=total - half, reason="returned")
            )

    def _touch_kiosk(self) -> None:
        self._execute(
            commands.TrackActivity(
                session_id=KIOSK, action="touch", target=self._random.choice(_PAGES)
            )
        )

    def _train(self) -> None:
        version = self._new_id("version")
        trained = self._execute(
            commands.TrainVersion(
                model_id=RECOMMENDER,
                model_version=version,
                metrics={"recall": round(self._random.uniform(0.5, 0.9), 4)},
            )
        )
        if trained and self._random.random() < 0.3:  # noqa: PLR2004 - so many are good enough
            self._execute(commands.DeployVersion(model_id=RECOMMENDER, model_version=version))


def _always() -> bool:
    return True
