"""The log on our DynamoDB recorders keeps the contract too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from eventsourcing import persistence
from eventsourcing.utils import Environment
from typing_extensions import override

from eventcore.errors import LimitExceededError
from eventcore.stores.dynamodb.limits import STATE_BYTES_MAX, STREAMS_PER_APPEND_MAX
from eventcore.stores.log import Log, StreamAppend
from eventcore.stores.recorders import RecorderLog
from eventcore.testing import LogContract
from tests.contract.eventsourcing_cases.test_dynamodb import environment
from tests.dynamodb import DynamoDBPlace


@pytest.mark.dynamodb
class TestOnOurDynamoDBModule(LogContract):
    """Each log has a recorder and connections of its own, as those of several processes have."""

    has_unique_event_ids = False
    state_bytes_max = STATE_BYTES_MAX
    streams_per_append_max = STREAMS_PER_APPEND_MAX

    @pytest.fixture(autouse=True)
    def _choose_table(self, dynamodb: DynamoDBPlace) -> Iterator[None]:
        self.env = environment(dynamodb, ORIGINATOR_ID_TYPE="text")
        self.factories: list[persistence.InfrastructureFactory[Any]] = []
        yield
        for made in self.factories:
            made.close()

    @override
    def open_log(self) -> Log:
        made = persistence.InfrastructureFactory.construct(Environment("shop", self.env))
        self.factories.append(made)
        return RecorderLog(made.application_recorder())

    @override
    def test_a_larger_event_is_refused(self) -> None:
        # With its id still in it: this log looks for that before its recorder looks at the size.
        size = STATE_BYTES_MAX + 1
        event = self.make()
        too_large = event._replace(state=event.state.ljust(size))

        with pytest.raises(LimitExceededError) as caught:
            self.log.append([StreamAppend("order-1", 0, [too_large])])

        assert (caught.value.actual, caught.value.limit) == (size, STATE_BYTES_MAX)
        assert self.log.stream_version("order-1") == 0
