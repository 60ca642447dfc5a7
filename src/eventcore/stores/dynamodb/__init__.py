"""The log, and ``eventsourcing``'s recorders, on DynamoDB: one order that no clock decides.

As a persistence module of an application written for ``eventsourcing`` alone, unchanged::

    PERSISTENCE_MODULE=eventcore.stores.dynamodb
    DYNAMODB_TABLE=shop
    AWS_REGION=eu-west-1

See :class:`DynamoDBFactory` for the environment.
"""

# The base library looks for exactly one factory class among the names of this module.
from eventcore.stores.dynamodb.recorders.factory import DynamoDBFactory

__all__ = ["DynamoDBFactory"]
