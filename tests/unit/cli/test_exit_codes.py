"""How a call ends: exit codes, and errors in one line or in one JSON object."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call

ABSENT = "0190f1a0-0000-7000-8000-00000000ffff"


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["events", "show", ABSENT], 1, ABSENT),
        (["events", "trace", "nobody"], 1, "nobody"),
        (["state", "order", "o9"], 1, "o9"),
        (["state", "order", "o1", "--version", "9"], 1, "o1"),
        (["state", "order", "o1", "--as-of", "2020-01-01T00:00:00Z"], 1, "o1"),
        (["frobnicate"], 2, "frobnicate"),
        (["events"], 2, "Missing command"),
        (["events", "read", "--limit", "many"], 2, "--limit"),
        (["events", "show", "first"], 2, "not a UUID"),
        (["state", "ordr", "o1"], 2, "model, order"),
        (["state", "order", "o1", "--as-of", "yesterday"], 2, "yesterday"),
        (["state", "order", "o1", "--as-of", "2024-01-01T10:00:00"], 2, "offset"),
        (["state", "order", "o1", "--version", "1", "--as-of", "2024-01-01T10:00Z"], 2, "exclude"),
        (["state", "order", "o1", "--as-of", "0001-01-01T00:00:00+10:00"], 2, "years 1 to 9999"),
        (["state", "order", "o1", "--as-of", "9999-12-31T23:59:59-10:00"], 2, "years 1 to 9999"),
        (["query", "ordrs"], 2, "Did you mean orders?"),
        (["query", "orders", "--where", "colour=red"], 2, "order_id, user_id"),
        (["query", "orders", "--where", "created_at=soon"], 2, "created_at"),
        (["query", "orders", "--where", "status"], 2, "COLUMN=VALUE"),
        (["query", "events", "--where", f"version={'9' * 23}"], 2, "version"),
        (["query", "orders", "--where", "total_amount=1e999999999999"], 2, "total_amount"),
        (["query", "orders", "--where", "status=\udcff"], 2, "status"),
        (["query", "orders", "--where", "created_at=0001-01-01T00:00+10:00"], 2, "created_at"),
        (["projections", "rebuild", "ordrs"], 2, "Did you mean orders?"),
        (["projections", "rebuild"], 2, "--all"),
        (["projections", "rebuild", "orders", "--all"], 2, "--all"),
        (["ingest", "missing.jsonl"], 2, "missing.jsonl"),
        (["schema", "check", "--lock", "missing.json"], 2, "missing.json"),
        (["schema", "check", "--lock", "shop.jsonl"], 2, "schema lock"),
        (["schema", "check", "--module", "json"], 2, "--lock"),
        (["schema", "export", "--module", "no_such_module"], 2, "no_such_module"),
        (["schema", "export", "--module", "json"], 2, "no event types"),
        (["copy", "memory://", "memory://"], 2, "same store"),
        (["copy", "memory://", "sqlite:///new.db"], 2, "holds nothing to copy"),
        (["ingest", "/proc/self/mem"], 2, "/proc/self/mem"),
        (["events", "read", "--store"], 2, "--store needs a URL"),
        (["events", "read", "--import"], 2, "--import needs a module"),
        (["events", "read", "--import", "no_such_module"], 2, "no_such_module"),
        (["events", "read", "--import", "../shop"], 2, "no module's name"),
        (["events", "read", "--store", "sqlite://[::1"], 2, "sqlite:///"),
        (["events", "read", "--store", "shop.db"], 2, "sqlite:///"),
        (
            ["events", "read", "--store", "postgresql://ada:secret@127.0.0.1:1/shop"],
            3,
            "Connection refused",
        ),
        (["events", "read", "--store", "sqlite:///shop.jsonl"], 2, "not a database"),
        (["db", "check", "--store", "memory://"], 2, "SQLite"),
        (["events", "read", "--store", "sqlite:///no/such/folder/shop.db"], 3, "no/such/folder"),
        (["copy", "sqlite:///missing.db", "sqlite:///new.db"], 3, "missing.db"),
    ],
)
def test_a_call_that_fails_says_why_in_one_line_and_by_its_code(
    shop: Call, *, arguments: list[str], code: int, named: str
):
    for_people = shop(*arguments)
    for_programs = shop(*arguments, "--json")

    assert (for_people.code, for_programs.code) == (code, code)
    first, *hints = for_people.err.splitlines()
    assert first.startswith("error  ")
    assert named in first
    assert all(hint.startswith("Try: ") for hint in hints)
    assert for_programs.out == ""
    assert named in for_programs.error["message"]
    assert "secret" not in for_people.err + for_programs.err
    assert "Traceback" not in for_people.err


def test_a_store_that_is_not_there_is_not_created_by_copying_from_it(shop: Call, folder: Path):
    shop("copy", "sqlite:///missing.db", "sqlite:///new.db")

    assert not (folder / "missing.db").exists()


def test_a_typing_error_in_a_query_creates_no_store(call: Call, folder: Path):
    call("query", "ordrs")
    call("query", "orders", "--where", "colour=red")

    assert list(folder.iterdir()) == []


def test_without_arguments_the_commands_are_listed(call: Call):
    answer = call()

    assert answer.code == 0
    for command in ("demo", "ingest", "events", "query", "projections", "copy", "doctor"):
        assert f" {command} " in answer.out


def test_the_version_is_that_of_the_distribution(call: Call):
    assert call("version").out == "0.1.0\n"
    assert call("version", "--json").records == [{"version": "0.1.0"}]


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(package: str):
    code = (
        f"import sys; sys.modules['{package}'] = None; "
        "from eventcore.cli import main; main(['version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"The eventcore command needs the package {package}. "
        "Install it with: pip install 'eventcore-es[cli]'\n"
    )


def test_an_interrupt_ends_with_130(call: Call, monkeypatch: pytest.MonkeyPatch):
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eventcore.settings.Settings.load", interrupted)

    answer = call("events", "read")

    assert (answer.code, answer.out) == (130, "")
    assert answer.err == "interrupted\n"


def test_shared_options_may_stand_anywhere(shop: Call):
    expected = shop("events", "read", "--json", "--store", "sqlite:///eventcore.db")
    before = shop("--json", "--store=sqlite:///eventcore.db", "events", "read")

    assert before.out == expected.out != ""


def test_everything_behind_two_dashes_belongs_to_the_command(shop: Call):
    answer = shop("events", "trace", "--", "--json")

    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error  no event carries the correlation id '--json'")


def test_the_paragraphs_of_a_help_flow(shop: Call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")

    told = shop("copy", "--help").out

    assert "In the end the whole copy is read, and its digest is to be that of the" in told


def test_help_opens_nothing_and_imports_no_store():
    code = (
        "import sys; from eventcore.cli.program import run; run(['--help']); "
        "late = {'sqlite3', 'eventsourcing', 'eventcore.app', 'rich.progress'}; "
        "print(sorted(late & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
