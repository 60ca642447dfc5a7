"""eventcore: event sourcing and CQRS for Python services.

One log of what happened, aggregates that decide, read models that are exact, and everything rebuilt
by replay::

    from eventcore import Order, open_app
    from eventcore.commands import PayOrder

    with open_app("sqlite:///shop.db") as app:
        app.execute(PayOrder(order_id="o-1", amount=Decimal("9.99")))
        app.get(Order, "o-1").status

The names below are what most programs need; each room (:mod:`eventcore.events`,
:mod:`eventcore.aggregates`, :mod:`eventcore.commands`, :mod:`eventcore.stores`, …) has more. They
are imported when they are first used, so that ``import eventcore`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from eventcore.aggregates import (
        Aggregate,
        Claim,
        Model,
        Order,
        OrderStatus,
        Session,
        User,
        UserStatus,
        applies,
        guards,
    )
    from eventcore.app import (
        App,
        open_app,
        open_log,
    )
    from eventcore.commands import (
        Command,
        CommandResult,
    )
    from eventcore.errors import (
        AggregateNotFoundError,
        ConcurrencyConflictError,
        ConfigurationError,
        EventCoreError,
        InvalidEventError,
        RuleViolationError,
        StoreError,
    )
    from eventcore.events import (
        Codec,
        CurrencyCode,
        DomainEvent,
        EventContext,
        EventMetadata,
        EventRegistry,
        Id,
        Money,
        NewEvent,
        PayloadModel,
        Personal,
        Recorded,
        Text,
        event_context,
        upcast,
    )
    from eventcore.settings import (
        Settings,
    )
    from eventcore.stores.log import (
        ANY_VERSION,
        Log,
        LogFilter,
        StreamAppend,
    )

    __version__: str

_DISTRIBUTION: Final = "eventcore-es"
_HOMES: Final = {
    "Aggregate": "eventcore.aggregates",
    "Claim": "eventcore.aggregates",
    "Model": "eventcore.aggregates",
    "Order": "eventcore.aggregates",
    "OrderStatus": "eventcore.aggregates",
    "Session": "eventcore.aggregates",
    "User": "eventcore.aggregates",
    "UserStatus": "eventcore.aggregates",
    "applies": "eventcore.aggregates",
    "guards": "eventcore.aggregates",
    "App": "eventcore.app",
    "open_app": "eventcore.app",
    "open_log": "eventcore.app",
    "Command": "eventcore.commands",
    "CommandResult": "eventcore.commands",
    "AggregateNotFoundError": "eventcore.errors",
    "ConcurrencyConflictError": "eventcore.errors",
    "ConfigurationError": "eventcore.errors",
    "EventCoreError": "eventcore.errors",
    "InvalidEventError": "eventcore.errors",
    "RuleViolationError": "eventcore.errors",
    "StoreError": "eventcore.errors",
    "Codec": "eventcore.events",
    "CurrencyCode": "eventcore.events",
    "DomainEvent": "eventcore.events",
    "EventContext": "eventcore.events",
    "EventMetadata": "eventcore.events",
    "EventRegistry": "eventcore.events",
    "Id": "eventcore.events",
    "Money": "eventcore.events",
    "NewEvent": "eventcore.events",
    "PayloadModel": "eventcore.events",
    "Personal": "eventcore.events",
    "Recorded": "eventcore.events",
    "Text": "eventcore.events",
    "event_context": "eventcore.events",
    "upcast": "eventcore.events",
    "Settings": "eventcore.settings",
    "ANY_VERSION": "eventcore.stores.log",
    "Log": "eventcore.stores.log",
    "LogFilter": "eventcore.stores.log",
    "StreamAppend": "eventcore.stores.log",
}

__all__ = [
    "ANY_VERSION",
    "Aggregate",
    "AggregateNotFoundError",
    "App",
    "Claim",
    "Codec",
    "Command",
    "CommandResult",
    "ConcurrencyConflictError",
    "ConfigurationError",
    "CurrencyCode",
    "DomainEvent",
    "EventContext",
    "EventCoreError",
    "EventMetadata",
    "EventRegistry",
    "Id",
    "InvalidEventError",
    "Log",
    "LogFilter",
    "Model",
    "Money",
    "NewEvent",
    "Order",
    "OrderStatus",
    "PayloadModel",
    "Personal",
    "Recorded",
    "RuleViolationError",
    "Session",
    "Settings",
    "StoreError",
    "StreamAppend",
    "Text",
    "User",
    "UserStatus",
    "__version__",
    "applies",
    "event_context",
    "guards",
    "open_app",
    "open_log",
    "upcast",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    value: Any
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - seldom asked for, slow

        value = version(_DISTRIBUTION)
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
