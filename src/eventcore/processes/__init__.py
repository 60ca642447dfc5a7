"""Process managers: events in, commands out, exactly once in effect; timeouts are events."""

from eventcore.events.catalogue.processes import ProcessTimedOut
from eventcore.processes.carts import CARTS, CartAbandoned
from eventcore.processes.payments import AWAITED_PAYMENTS, PaymentNotReceived
from eventcore.processes.process import (
    ENDED,
    ProcessManager,
    Reaction,
    Timer,
    reacts,
    timed_out,
)
from eventcore.processes.runner import Handled, ProcessRunner, ProcessStatus

__all__ = [
    "AWAITED_PAYMENTS",
    "CARTS",
    "ENDED",
    "CartAbandoned",
    "Handled",
    "PaymentNotReceived",
    "ProcessManager",
    "ProcessRunner",
    "ProcessStatus",
    "ProcessTimedOut",
    "Reaction",
    "Timer",
    "reacts",
    "timed_out",
]
