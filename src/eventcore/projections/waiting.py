"""Waiting: until read models have applied a position, whoever keeps them, or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable

from eventcore.errors import WaitTimeoutError
from eventcore.projections.anchors import check_log
from eventcore.projections.following import STOP_CHECK_SECONDS
from eventcore.projections.shares import reached
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.views import Views
from eventcore.stores.log import Log


class Waiting:
    """Waits for projections, one after another, all within one time limit that begins now.

    Args:
        log: What they have to be made from.
        views: Where they are.
        position: What they are to have applied.
        timeout_seconds: How long at most, together.
        failure: Why nobody here keeps them any longer; None while somebody may.
    """

    def __init__(
        self,
        log: Log,
        views: Views,
        *,
        position: int,
        timeout_seconds: float,
        failure: Callable[[], BaseException | None],
    ) -> None:
        self._log = log
        self._views = views
        self._position = position
        self._timeout_seconds = timeout_seconds
        self._failure = failure
        self._deadline = time.monotonic() + timeout_seconds

    def wait_for(self, name: str) -> None:
        """Wait for one projection.

        Raises:
            WaitTimeoutError: It did not get there in time.
            ViewsOfAnotherLogError: It was made from another log.
        """
        signal = self._views.signal
        while True:
            token = signal.token()
            checkpoint = reached(self._views, name)
            if checkpoint is not None and checkpoint.position >= self._position:
                self._check_log(name, checkpoint)
                return
            if (failure := self._failure()) is not None:
                raise failure
            remaining_seconds = self._deadline - time.monotonic()
            if remaining_seconds <= 0:
                if checkpoint is not None:
                    self._check_log(name, checkpoint)
                raise WaitTimeoutError(
                    projection=name,
                    current=checkpoint.position if checkpoint else 0,
                    timeout_seconds=self._timeout_seconds,
                    position=self._position,
                )
            signal.wait(token, min(remaining_seconds, STOP_CHECK_SECONDS))

    def _check_log(self, name: str, checkpoint: Checkpoint) -> None:
        check_log(
            self._log,
            projection=name,
            database=self._views.name,
            position=checkpoint.position,
            anchor=checkpoint.anchor,
        )
