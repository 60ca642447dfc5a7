"""seal and verify: what they print, and how they end."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventcore.seals import digest_of
from eventcore.stores.sqlite.log import SQLiteLog
from tests.unit.cli.conftest import PAID, Call, write_lines


@pytest.fixture
def sealed(shop: Call) -> Call:
    """The shop, and its three events sealed in seals.jsonl."""
    assert shop("seal", "--to", "seals.jsonl").code == 0
    return shop


@pytest.fixture
def keys(folder: Path) -> Path:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (folder / "private.pem").write_bytes(private)
    public = key.public_key()
    (folder / "public.pem").write_bytes(
        public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    return folder


def as_administrator(path: Path, *statements: str) -> None:
    """Change a log past its guards, which are there again afterwards."""
    with closing(sqlite3.connect(path)) as connection:
        guards = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, statement in guards:
            connection.execute(statement)
        connection.commit()


def test_sealing_says_what_it_sealed_and_again_only_what_is_new(shop: Call, folder: Path):
    [first] = shop("seal", "--to", "seals.jsonl", "--json").records
    [again] = shop("seal", "--to", "seals.jsonl", "--json").records
    write_lines(folder / "more.jsonl", PAID)
    shop("ingest", "more.jsonl")
    [more] = shop("seal", "--to", "seals.jsonl", "--json").records

    assert (first["events"], first["seals"], first["total"], first["position"]) == (3, 1, 3, 3)
    assert again == first | {"events": 0, "seals": 0}
    assert (more["events"], more["total"]) == (1, 4)
    with closing(SQLiteLog(folder / "eventcore.db")) as log:
        assert more["log"] == digest_of(log.read()).hex()


def test_verifying_says_that_all_is_well_and_what_is_not_sealed(sealed: Call, folder: Path):
    write_lines(folder / "more.jsonl", PAID)
    sealed("ingest", "more.jsonl")

    answer = sealed("verify", "--seals", "seals.jsonl", "--json")
    told = sealed("verify", "--seals", "seals.jsonl")

    [record] = answer.records
    assert answer.code == 0
    assert (record["events"], record["sealed"], record["unsealed"]) == (4, 3, 1)
    assert record["finding"] is None
    assert "4 events are in order (streams: 3), 3 of them as they were sealed" in told.out
    assert "1 events are not sealed" in told.err


def test_an_event_that_was_altered_is_named_and_the_exit_code_is_1(sealed: Call, folder: Path):
    as_administrator(
        folder / "eventcore.db",
        "UPDATE eventcore_log SET state ="
        " CAST(replace(CAST(state AS TEXT), '3.00', '1.00') AS BLOB) WHERE position = 3",
    )

    answer = sealed("verify", "--seals", "seals.jsonl", "--json")

    [record] = answer.records
    assert answer.code == 1
    assert record["finding"]["kind"] == "altered"
    assert (record["finding"]["position"], record["finding"]["stream"]) == (3, "order-o1")
    assert answer.error["type"] == "LogAltered"
    assert "position 3 (order.created of order-o1, version 1)" in answer.error["message"]
    assert sealed("verify").code == 0  # nothing else says how it was


def test_a_database_that_was_restored_is_noticed_by_verify_and_by_seal(shop: Call, folder: Path):
    shutil.copy(folder / "eventcore.db", folder / "backup.db")
    write_lines(folder / "more.jsonl", PAID)
    shop("ingest", "more.jsonl")
    shop("seal", "--to", "seals.jsonl")
    for suffix in ("", "-wal", "-shm"):
        (folder / f"eventcore.db{suffix}").unlink(missing_ok=True)
    shutil.copy(folder / "backup.db", folder / "eventcore.db")

    answer = shop("verify", "--seals", "seals.jsonl")
    again = shop("seal", "--to", "seals.jsonl")

    assert answer.code == 1
    assert "position 4: the log ends at position 3, but was sealed up to 4" in answer.err
    assert again.code == 3
    assert "the event that was sealed there is gone" in again.err


def test_signed_seals_are_checked_by_the_public_key(shop: Call, keys: Path):
    shop("seal", "--to", "signed", "--key", "private.pem")
    shop("seal", "--to", "unsigned")
    check = ("verify", "--public-key", "public.pem", "--seals")

    assert shop(*check, "signed").code == 0
    answer = shop(*check, "unsigned")

    assert answer.code == 1
    assert "seal 1 is not signed by this key" in answer.err


def test_an_anchor_that_is_gone_is_noticed(sealed: Call):
    [record] = sealed("seal", "--to", "seals.jsonl", "--json").records
    check = ("verify", "--seals", "seals.jsonl", "--anchor")

    assert sealed(*check, record["seal"]).code == 0
    assert sealed(*check, "0" * 64).code == 1


def test_a_quick_look_reads_no_index(sealed: Call, folder: Path):
    as_administrator(
        folder / "eventcore.db",
        "UPDATE eventcore_log SET event_id = 'ffffffff-0000-7000-8000-000000000001'"
        " WHERE position = 1",
    )

    assert sealed("verify", "--seals", "seals.jsonl").code == 1
    assert sealed("verify", "--seals", "seals.jsonl", "--quick").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["verify", "--anchor", "0" * 64], 2, "name their file with --seals"),
        (["verify", "--seals", "missing"], 2, "missing: No such file"),
        (["verify", "--store", "sqlite:///missing.db"], 3, "missing.db"),
        (["seal", "--to", "no/folder/seals"], 2, "No such file"),
        (["seal", "--to", "s", "--key", "missing.pem"], 2, "missing.pem"),
        (["seal", "--to", "s", "--store", "sqlite:///missing.db"], 3, "missing.db"),
        (["seal"], 2, "--to"),
    ],
)
def test_what_cannot_be_done_says_why(shop: Call, arguments: list[str], *, code: int, words: str):
    answer = shop(*arguments)

    assert answer.code == code
    assert words in answer.err


def test_an_empty_log_has_nothing_to_seal_and_is_as_it_was(call: Call, folder: Path):
    call("db", "apply", "--yes")
    SQLiteLog(folder / "eventcore.db").close()

    answer = call("seal", "--to", "seals")

    assert (answer.code, "nothing to seal" in answer.out) == (0, True)
    assert call("verify", "--seals", "seals").code == 0


def test_one_stream_is_verified_alone_and_its_digest_is_told(sealed: Call, folder: Path):
    check = ("verify", "--seals", "seals.jsonl", "--json", "--stream")
    [fine] = sealed(*check, "order-o1").records
    as_administrator(
        folder / "eventcore.db",
        "UPDATE eventcore_log SET type = 'order.paid' WHERE position = 3",
    )
    altered = sealed(*check, "order-o1")

    assert (fine["events"], fine["sealed"], fine["finding"]) == (1, 1, None)
    assert (altered.code, altered.records[0]["finding"]["kind"]) == (1, "altered")
    assert sealed(*check, "user-u1").code == 0
    assert sealed(*check, "nobody-1").code == 1
