"""Read models on DynamoDB."""

from eventcore.projections.dynamodb.views import DynamoDBViews

__all__ = ["DynamoDBViews"]
