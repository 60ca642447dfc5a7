"""An application on DynamoDB, opened by its URL."""

import subprocess
import sys

import pytest

from eventcore.aggregates import User
from eventcore.app import open_app
from eventcore.commands import RegisterUser
from eventcore.errors import ConfigurationError, SchemaMismatchError
from tests.dynamodb import DynamoDBPlace

pytestmark = pytest.mark.dynamodb


def test_commands_are_executed_and_found_again(dynamodb: DynamoDBPlace) -> None:
    with open_app(dynamodb.store_url) as app:
        command = RegisterUser(user_id="u-1", email="ada@example.com", command_id=app.new_id())
        first = app.execute(command)

        again = app.execute(command)

        assert not first.repeated
        assert (again.repeated, again.position) == (True, first.position)
    with open_app(dynamodb.store_url) as app:
        assert app.execute(command).repeated
        assert app.get(User, "u-1").email == "ada@example.com"


def test_logs_of_one_table_are_apart(dynamodb: DynamoDBPlace) -> None:
    one = dynamodb.url_of(dynamodb.table, prefix="one")
    other = dynamodb.url_of(dynamodb.table, prefix="other")
    with open_app(one) as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))

    with open_app(other) as app:
        assert app.log.head() == 0


def test_a_table_that_is_absent_is_not_created_unless_it_may_be(dynamodb: DynamoDBPlace) -> None:
    with pytest.raises(SchemaMismatchError, match="eventcore db apply"):
        open_app(dynamodb.url_of(dynamodb.table, create="no"))


def test_a_table_with_another_key_is_refused(dynamodb: DynamoDBPlace) -> None:
    client = dynamodb.client()
    client.create_table(
        TableName=dynamodb.table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client.close()

    with pytest.raises(SchemaMismatchError, match="Name another table"):
        open_app(dynamodb.store_url)


def test_a_region_is_needed(monkeypatch: pytest.MonkeyPatch, dynamodb: DynamoDBPlace) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConfigurationError, match="region"):
        open_app("dynamodb://shop")


def test_boto3_is_imported_only_where_dynamodb_is_used() -> None:
    program = "import eventcore, sys; sys.exit('boto3' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
