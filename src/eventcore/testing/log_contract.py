"""The log contract as one suite, the same for every store."""

from __future__ import annotations

from eventcore.testing.log_appending import AppendingCases
from eventcore.testing.log_closing import ClosingCases
from eventcore.testing.log_following import FollowingCases
from eventcore.testing.log_limits import LimitCases
from eventcore.testing.log_memories import MemoryCases
from eventcore.testing.log_racing import RacingCases
from eventcore.testing.log_reading import ReadingCases


class LogContract(
    AppendingCases,
    ReadingCases,
    FollowingCases,
    RacingCases,
    LimitCases,
    ClosingCases,
    MemoryCases,
):
    """Every promise of :mod:`eventcore.stores.log` as test methods for pytest.

    Subclass it under a name that begins with ``Test`` and say how a log is opened::

        class TestMyLog(LogContract):
            def open_log(self):
                return MyLog(f"my-test-database-{...}")

    Attributes of the class say what a store does differently: see
    :class:`~eventcore.testing.log_cases.LogCases`.
    """
