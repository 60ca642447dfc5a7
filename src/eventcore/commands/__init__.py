"""Commands: what somebody wants to happen; loaded, decided, appended, retried on conflict."""

from eventcore.commands.command import Command, CommandResult
from eventcore.commands.envelopes import Envelopes
from eventcore.commands.execution import CommandExecutor
from eventcore.commands.models import DeployVersion, RegisterModel, RetireVersion, TrainVersion
from eventcore.commands.orders import (
    AddItem,
    CancelOrder,
    CreateOrder,
    DeliverOrder,
    PayOrder,
    RefundOrder,
    RemoveItem,
    ShipOrder,
)
from eventcore.commands.repository import Repository
from eventcore.commands.sessions import EndSession, StartSession, TrackActivity
from eventcore.commands.users import (
    ChangeEmail,
    CloseUser,
    ReactivateUser,
    RegisterUser,
    SuspendUser,
    UpdateProfile,
)

__all__ = [
    "AddItem",
    "CancelOrder",
    "ChangeEmail",
    "CloseUser",
    "Command",
    "CommandExecutor",
    "CommandResult",
    "CreateOrder",
    "DeliverOrder",
    "DeployVersion",
    "EndSession",
    "Envelopes",
    "PayOrder",
    "ReactivateUser",
    "RefundOrder",
    "RegisterModel",
    "RegisterUser",
    "RemoveItem",
    "Repository",
    "RetireVersion",
    "ShipOrder",
    "StartSession",
    "SuspendUser",
    "TrackActivity",
    "TrainVersion",
    "UpdateProfile",
]
