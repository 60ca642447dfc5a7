"""Writes beside the log: done once, however often they had to be sent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from eventcore.errors import StoreError, StoreUnavailableError
from eventcore.stores.dynamodb.calls import (
    ConditionFailedError,
    DynamoDBCalls,
    Item,
    Pauses,
    TransactionCanceledError,
    binary,
)
from eventcore.stores.dynamodb.limits import TRANSACTION_ITEMS_MAX, at_most
from eventcore.stores.dynamodb.writing import SENDS_MAX, TOKEN_BYTES

IS_NEWER: Final = "attribute_not_exists(c) OR c < :c"
"""A position is recorded once, and none below one that is recorded."""

_PASSING: Final = frozenset(
    {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
)


def new_token() -> bytes:
    """What no other write has."""
    return os.urandom(TOKEN_BYTES)


def tracking_update(table: str, key: Item, notification_id: int) -> tuple[dict[str, Any], bytes]:
    """The update that records a position, on the condition that it is higher than before.

    Returns:
        The update, and the token it writes.
    """
    token = new_token()
    update = {
        "TableName": table,
        "Key": key,
        "UpdateExpression": "SET c = :c, k = :k",
        "ConditionExpression": IS_NEWER,
        "ExpressionAttributeValues": {":c": {"N": str(notification_id)}, ":k": {"B": token}},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    return update, token


def write_once(calls: DynamoDBCalls, actions: Sequence[Mapping[str, Any]], token: bytes) -> bool:
    """Do all actions, or none; False: a condition does not hold.

    The first action must be conditional, ask for the item on failure, and write the token: by that
    an earlier attempt whose answer was lost is recognised, for ever.

    Raises:
        LimitExceededError: Too many actions. Nothing was sent.
        StoreUnavailableError: The service does not answer: the outcome may be unknown.
        StoreError: The service does not understand an action.
    """
    at_most("a transaction", len(actions), limit=TRANSACTION_ITEMS_MAX, unit="items")
    if len(actions) > 1:
        return _transact(calls, actions, token)
    ((kind, parameters),) = actions[0].items()
    try:
        calls.call(f"{kind}Item", parameters)  # half the price of a transaction
    except ConditionFailedError as error:
        return _is_ours(error.item, token)
    return True


def _transact(calls: DynamoDBCalls, actions: Sequence[Mapping[str, Any]], token: bytes) -> bool:
    request = {"TransactItems": list(actions), "ClientRequestToken": token.hex()}
    pauses = Pauses(calls.sleep)
    failure: Exception | None = None
    for _ in range(SENDS_MAX):
        try:
            calls.call("TransactWriteItems", request)
        except TransactionCanceledError as error:
            if error.failed_conditions:
                return _is_ours(error.reasons[0].item, token)
            _check_passing(calls.name, error)
            failure = error
        except StoreUnavailableError as error:
            failure = error
        else:
            return True
        pauses.pause()
    problem = "its outcome is unknown, or its items were in other transactions"
    raise StoreUnavailableError(store=calls.name, problem=problem) from failure


def _check_passing(store: str, error: TransactionCanceledError) -> None:
    """Pass over what goes away by itself; anything else no attempt will change."""
    if wrong := {reason.code for reason in error.reasons} - _PASSING:
        problem = f"a transaction was refused: {sorted(wrong)}"
        raise StoreError(store=store, problem=problem) from error


def _is_ours(item: Item | None, token: bytes) -> bool:
    return item is not None and "k" in item and binary(item["k"]) == token
