"""Command: what somebody wants to happen to one aggregate, as a frozen model.

::

    class PayOrder(Command, aggregate=Order, key="order_id"):
        order_id: Id
        amount: Money

        def decide(self, order: Order) -> None:
            order.pay(amount=self.amount)
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from pydantic import ConfigDict
from typing_extensions import override

from eventcore.aggregates.aggregate import Aggregate
from eventcore.errors import RegistrationError
from eventcore.events.event import PayloadModel
from eventcore.events.recorded import Recorded


class CommandResult(NamedTuple):
    """What a command did.

    Attributes:
        stream: Name of the aggregate's stream.
        version: Version of the stream after it.
        position: Place in the log of its last event: a read model that has reached it shows what
            the command did. If it recorded nothing, the head of the log.
        events: What it recorded; empty if there was nothing to do.
        repeated: True if the command was executed before; everything above is of that time.
    """

    stream: str
    version: int
    position: int
    events: tuple[Recorded[Any], ...]
    repeated: bool


class Command(PayloadModel):
    """Base of every command.

    Class arguments:
        aggregate: Class of the aggregate it is for; inherited.
        key: Name of the field that holds its id; ``<category>_id`` by default; inherited.

    Attributes:
        command_id: Makes executing it twice the same as once: the second time writes nothing and
            returns what the first returned. Without it every execution is one of its own. Another
            command with the same id is refused. A command that recorded nothing left no trace: it
            is decided again, and may then do something.

    Raises:
        RegistrationError: On definition: the key is not one of the fields.
        pydantic.ValidationError: On making one: a field is missing or has a wrong form, as with
            events. It names the field and never shows the value.
    """

    # Built when first used: a program uses few of the commands that it imports.
    model_config = ConfigDict(defer_build=True)

    __aggregate__: ClassVar[type[Aggregate]]
    __key__: ClassVar[str] = ""

    command_id: UUID | None = None

    @override
    def __init_subclass__(
        cls, *, aggregate: type[Aggregate] | None = None, key: str | None = None
    ) -> None:
        # States the class arguments for type checkers; pydantic calls the method below once the
        # fields are known.
        super().__init_subclass__()

    @classmethod
    @override
    def __pydantic_init_subclass__(
        cls, *, aggregate: type[Aggregate] | None = None, key: str | None = None, **arguments: Any
    ) -> None:
        super().__pydantic_init_subclass__(**arguments)
        if aggregate is not None:
            cls.__aggregate__ = aggregate
        if key is not None or aggregate is not None:
            cls.__key__ = key or f"{cls.__aggregate__.category}_id"
            if aggregate is not None and cls.__key__ not in cls.model_fields:
                raise RegistrationError(
                    message=f"Command {cls.__name__} has no field {cls.__key__!r} (give key=...)"
                )

    @property
    def aggregate_id(self) -> str:
        """Id of the aggregate it is for."""
        return str(getattr(self, self.__key__))

    @property
    def stream(self) -> str:
        """Stream of the aggregate it is for."""
        return self.__aggregate__.stream_of(self.aggregate_id)

    def decide(self, aggregate: Any, /) -> None:
        """Record what is to happen, by the aggregate's own methods.

        Called again with a newer state if another writer was faster: it has no effect but on the
        aggregate.

        Raises:
            RuleViolationError: A rule refuses. Nothing will be written.
        """
        raise NotImplementedError

    @override
    def __repr_args__(self) -> Any:
        # Commands hold personal values; logs and tracebacks show representations.
        return [(self.__key__, self.aggregate_id), ("command_id", self.command_id)]
