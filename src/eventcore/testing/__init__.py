"""Tests to import for your own stores, and events, ids and clocks that are the same in every run.

A store of yours keeps the log contract if this passes::

    class TestMyLog(LogContract):
        def open_log(self):
            return MyLog(...)

Run it with pytest, which is not a dependency of eventcore: nothing here imports it. To see the
values of a failing ``assert``, have pytest rewrite these modules: in your ``conftest.py``, before
the import, call ``pytest.register_assert_rewrite("eventcore.testing")``.
"""

from eventcore.testing.log_contract import LogContract
from eventcore.testing.scenarios import EventMaker, SequentialIds, SteppingClock

__all__ = ["EventMaker", "LogContract", "SequentialIds", "SteppingClock"]
