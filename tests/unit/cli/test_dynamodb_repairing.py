"""``eventcore db repair`` on a log whose sequencer was set back, as a restore does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eventcore.app import open_app
from eventcore.commands import RegisterUser
from eventcore.errors import LogRestoredError
from tests.dynamodb import DynamoDBPlace

pytestmark = pytest.mark.dynamodb


def test_a_restored_log_is_refused_until_it_is_repaired(dynamodb: DynamoDBPlace) -> None:
    with open_app(dynamodb.store_url) as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        head = app.log.head()
    client = dynamodb.client()
    client.update_item(
        TableName=dynamodb.table,
        Key={"pk": {"S": "log#q"}, "sk": {"N": "0"}},
        UpdateExpression="SET c = :zero",
        ExpressionAttributeValues={":zero": {"N": "0"}},
    )
    client.close()
    with pytest.raises(LogRestoredError, match="db repair"):
        open_app(dynamodb.store_url)

    program = str(Path(sys.executable).with_name("eventcore"))
    command = [program, "--json", "--store", dynamodb.store_url]
    done = subprocess.run(
        [*command, "db", "repair"], capture_output=True, text=True, check=False, timeout=120
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["reserved"] == [0, head]
    with open_app(dynamodb.store_url) as app:
        assert app.execute(RegisterUser(user_id="u-2", email="b@example.com")).position > head
