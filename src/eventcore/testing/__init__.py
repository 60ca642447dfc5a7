"""Tests to import for your own code, and events, ids and clocks that are the same in every run.

``assert_projection_survives(MyProjection)`` tries a projection in every way it may be kept;
``given(events).when(command).then(events)`` and ``given(events).when(MyProjection).then(rows)`` are
tests as sentences.

A store of yours keeps the log contract if this passes::

    class TestMyLog(LogContract):
        def open_log(self):
            return MyLog(...)

Run it with pytest, which is not a dependency of eventcore: nothing here imports it. To see the
values of a failing ``assert``, have pytest rewrite these modules: in your ``conftest.py``, before
the import, call ``pytest.register_assert_rewrite("eventcore.testing")``.
"""

from eventcore.testing.behaviours import given
from eventcore.testing.log_contract import LogContract
from eventcore.testing.scenarios import EventMaker, SequentialIds, SteppingClock
from eventcore.testing.survival import assert_projection_survives

__all__ = [
    "EventMaker",
    "LogContract",
    "SequentialIds",
    "SteppingClock",
    "assert_projection_survives",
    "given",
]
