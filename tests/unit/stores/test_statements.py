"""SQL is found by name, with the purpose written beside it."""

from eventcore.stores.statements import load_statements


def test_statements_are_loaded_by_name_in_the_order_of_the_file():
    schema = load_statements("eventcore.stores.sqlite", "sql/schema.sql")

    assert list(schema)[:3] == ["create_log", "create_log_by_stream", "create_log_by_event_id"]
    assert "CREATE TABLE IF NOT EXISTS eventcore_log (" in schema["create_log"]
    assert "CREATE UNIQUE INDEX" not in schema["create_log"]


def test_no_statement_of_the_log_changes_or_removes_an_event():
    statements = load_statements("eventcore.stores.sqlite", "sql/log.sql")

    changing = [
        name
        for name, sql in statements.items()
        if "eventcore_log" in sql and any(word in sql for word in ("UPDATE", "DELETE", "REPLACE"))
    ]

    assert changing == []
