"""What the documents show must be what happens: their code blocks are run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends import REPOSITORY
from tests.docs.run_document import NOT_RUN
from tests.dynamodb import DynamoDBPlace
from tests.postgres import PostgresSchema

RUNNER = Path(__file__).with_name("run_document.py")
DOCUMENT_SECONDS_MAX = 240
ON_POSTGRES = "<!-- run on Postgres -->"
"""Stands in a document whose reader has a server: it finds an empty schema in its environment."""
ON_DYNAMODB = "<!-- run on DynamoDB -->"
"""Likewise, an endpoint without tables of the log's name."""
DOCUMENTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in [*REPOSITORY.glob("README.md"), *REPOSITORY.glob("docs/**/*.md")]
    if "_build" not in path.parts
)


def run_document(
    document: Path, folder: Path, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one document in a fresh interpreter: its types and threads cannot reach another's."""
    programs = Path(sys.executable).parent
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EVENTCORE_")
    }
    environment |= variables or {}
    environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', '')}"
    return subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), str(document)],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=DOCUMENT_SECONDS_MAX,
    )


def environment_on(place: PostgresSchema) -> dict[str, str]:
    """What is set where a service runs: our own variable, and those of ``eventsourcing``."""
    return {
        "EVENTCORE_STORE": place.store_url,
        "POSTGRES_DBNAME": place.dbname,
        "POSTGRES_HOST": place.host,
        "POSTGRES_PORT": str(place.port),
        "POSTGRES_USER": place.user,
        "POSTGRES_PASSWORD": "trusted",
        "POSTGRES_SCHEMA": place.schema,
    }


def environment_on_dynamodb(place: DynamoDBPlace) -> dict[str, str]:
    """Likewise; credentials are set by the fixture."""
    return {
        "EVENTCORE_STORE": place.store_url,
        "DYNAMODB_TABLE": place.table,
        "DYNAMODB_ENDPOINT_URL": place.url,
        "AWS_REGION": place.region,
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_code_in_the_document_runs(document, tmp_path, *, subtests, request):
    text = (REPOSITORY / document).read_text("utf-8")
    variables: dict[str, str] = {}
    if ON_DYNAMODB in text:
        variables |= environment_on_dynamodb(request.getfixturevalue("dynamodb"))
    if ON_POSTGRES in text:
        variables |= environment_on(request.getfixturevalue("postgres_schema"))

    done = run_document(REPOSITORY / document, tmp_path, variables)

    assert done.returncode == 0, f"{document}\n{done.stdout}\n{done.stderr}"
    for line in done.stdout.splitlines():
        if line.startswith(NOT_RUN):
            with subtests.test(msg=line):
                pytest.skip(f"{document}, {line.removeprefix(NOT_RUN)}")


def test_a_block_that_fails_fails_the_document_and_names_its_line(tmp_path):
    document = tmp_path / "broken.md"
    document.write_text("# Title\n\n```python\nx = 1\nassert x == 2\n```\n")

    done = run_document(document, tmp_path)

    assert done.returncode == 1
    assert f'"{document}", line 5' in done.stderr
    assert "AssertionError" in done.stderr


def test_blocks_of_a_document_share_names(tmp_path):
    document = tmp_path / "two.md"
    document.write_text("```python\nx = 1\n```\n\nthen\n\n```python\nprint(x + 1)\n```\n")

    done = run_document(document, tmp_path)

    assert (done.returncode, done.stdout) == (0, "2\n")


def test_a_session_that_prints_something_else_fails_the_document(tmp_path):
    document = tmp_path / "session.md"
    document.write_text("```python\n>>> 1 + 1\n3\n```\n")

    done = run_document(document, tmp_path)

    assert done.returncode == 1
    assert "Expected:\n    3\nGot:\n    2\n" in done.stdout


def test_a_command_that_fails_fails_the_document(tmp_path):
    document = tmp_path / "command.md"
    document.write_text("```console\n$ eventcore-no-such-command\n```\n")

    done = run_document(document, tmp_path)

    assert done.returncode == 1
    assert "exit code 127" in done.stderr


def test_a_document_on_postgres_finds_its_schema_in_the_environment(tmp_path, postgres_schema):
    document = tmp_path / "postgres.md"
    document.write_text(
        "```python\nfrom eventcore.app import open_app\n"
        "with open_app() as app:\n    print(app.log.connections.schema)\n```\n"
    )

    done = run_document(document, tmp_path, environment_on(postgres_schema))

    assert (done.returncode, done.stdout) == (0, f"{postgres_schema.schema}\n")


def test_a_document_on_dynamodb_finds_its_table_in_the_environment(tmp_path, dynamodb):
    document = tmp_path / "dynamodb.md"
    document.write_text(
        "```python\nfrom eventcore.app import open_app\n"
        "with open_app() as app:\n    print(app.log.keys.table)\n```\n"
    )

    done = run_document(document, tmp_path, environment_on_dynamodb(dynamodb))

    assert (done.returncode, done.stdout) == (0, f"{dynamodb.table}\n")


def test_a_marked_block_is_not_run_and_its_reason_is_shown(tmp_path):
    document = tmp_path / "marked.md"
    document.write_text("<!-- not run: needs a printer -->\n```python\n1 / 0\n```\n")

    done = run_document(document, tmp_path)

    assert (done.returncode, done.stdout) == (0, "NOT RUN line 2: needs a printer\n")


@pytest.mark.parametrize(
    "text",
    ["<!-- not run -->\n```python\n1 / 0\n```\n", "<!-- not run: needs a printer -->\n\nWords.\n"],
    ids=["no reason", "no block"],
)
def test_a_mark_without_a_reason_or_a_block_fails_the_document(text, tmp_path):
    document = tmp_path / "unmarked.md"
    document.write_text(text)

    done = run_document(document, tmp_path)

    assert done.returncode == 1
    assert "needs a reason and a block" in done.stderr
