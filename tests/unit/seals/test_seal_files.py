"""A file of seals: only added to, by one at a time, and every change to it is noticed."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventcore.errors import ConfigurationError, InputError, SealsDamagedError
from eventcore.seals import Checks, Sealer, SealFile, SealWriter, verify_log
from eventcore.seals.files import FILE_NAME
from eventcore.seals.findings import Kind
from eventcore.seals.keys import CheckingKey, SigningKey, read_checking_key, read_signing_key
from eventcore.seals.seal import NO_SEAL, runs_of
from tests.unit.seals.logs import Row, RowLog, rows_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STREAMS = ["a-1", "b-1", "a-1", "b-1", "c-1", "a-1"]


def sealed(path: Path, rows: list[Row], key: SigningKey | None = None) -> SealFile:
    """A file with a seal for each two rows."""
    log = RowLog()
    sealer = Sealer(log, SealWriter(path), clock=lambda: NOW, key=key)
    for end in range(2, len(rows) + 2, 2):
        log.rows = rows[:end]
        sealer.seal()
    return SealFile(path)


def is_noticed(file: SealFile, rows: list[Row], **checks: Any) -> bool:
    finding = verify_log(RowLog(rows), Checks(seals=file, **checks)).finding
    return finding is not None and finding.kind is Kind.SEAL


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def test_seals_say_where_they_are_and_name_each_other(tmp_path):
    file = sealed(tmp_path / "seals", rows_of(STREAMS))

    first, second, third = file.read()

    assert [seal.content.number for seal in (first, second, third)] == [1, 2, 3]
    assert [seal.content.positions() for seal in (first, second, third)] == [[1, 2], [3, 4], [5, 6]]
    assert first.content.previous == NO_SEAL
    assert second.content.previous == first.digest
    assert third.content.total == 6
    assert third.content.sealed_at == "2026-01-01T00:00:00.000000Z"


def test_a_folder_may_be_named_in_place_of_the_file(tmp_path):
    sealed(tmp_path, rows_of(STREAMS))

    assert len(list(SealFile(tmp_path / FILE_NAME).read())) == 3


def test_positions_with_holes_are_kept_as_stretches():
    assert runs_of([1, 2, 3, 7, 9, 10]) == ((1, 3), (7, 1), (9, 2))


def test_every_bit_of_the_file_that_flips_is_noticed(tmp_path):
    rows = rows_of(STREAMS)
    file = sealed(tmp_path / "seals", rows)
    data = file.path.read_bytes()
    assert not is_noticed(file, rows)

    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            file.path.write_bytes(changed)
            assert is_noticed(file, rows), (at, bit)


def test_every_byte_of_a_signed_file_that_flips_is_noticed(tmp_path, key):
    rows = rows_of(STREAMS[:2])
    file = sealed(tmp_path / "seals", rows, SigningKey(key))
    data = file.path.read_bytes()
    checking = CheckingKey(key.public_key())
    assert not is_noticed(file, rows, key=checking)

    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        file.path.write_bytes(changed)
        assert is_noticed(file, rows), at
        assert is_noticed(file, rows, key=checking), at


@pytest.mark.parametrize("line", [0, 1])
def test_a_seal_that_was_taken_out_is_noticed(tmp_path, line):
    rows = rows_of(STREAMS)
    file = sealed(tmp_path / "seals", rows)
    lines = file.path.read_bytes().splitlines(keepends=True)
    del lines[line]
    file.path.write_bytes(b"".join(lines))

    assert is_noticed(file, rows)


def test_seals_in_another_order_or_twice_are_noticed(tmp_path):
    rows = rows_of(STREAMS)
    file = sealed(tmp_path / "seals", rows)
    lines = file.path.read_bytes().splitlines(keepends=True)
    for order in ([0, 2, 1], [0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2]):
        file.path.write_bytes(b"".join([lines[at] for at in order]))
        assert is_noticed(file, rows), order


def test_a_file_whose_end_was_cut_off_is_noticed_by_an_anchor(tmp_path):
    rows = rows_of(STREAMS)
    file = sealed(tmp_path / "seals", rows)
    *_, last = file.read()
    assert not is_noticed(file, rows, anchor=last.digest)
    lines = file.path.read_bytes().splitlines(keepends=True)
    file.path.write_bytes(b"".join(lines[:-1]))

    assert not is_noticed(file, rows)
    assert is_noticed(file, rows, anchor=last.digest)


def test_a_file_written_anew_by_somebody_else_is_noticed_by_the_key(tmp_path, key):
    rows = rows_of(STREAMS)
    other = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    checking = CheckingKey(key.public_key())

    assert not is_noticed(sealed(tmp_path / "own", rows, SigningKey(key)), rows, key=checking)
    assert is_noticed(sealed(tmp_path / "other", rows, other), rows, key=checking)
    assert is_noticed(sealed(tmp_path / "unsigned", rows), rows, key=checking)


def test_what_a_stopped_writer_left_is_refused_by_readers_and_taken_off_by_the_next(tmp_path):
    rows = rows_of(STREAMS)
    whole = sealed(tmp_path / "whole", rows).path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path = tmp_path / "seals"
    begins = len(lines[0])
    for cut in range(begins + 1, begins + len(lines[1]) - 2):
        path.write_bytes(whole[:cut])
        assert is_noticed(SealFile(path), rows)

        Sealer(RowLog(rows), SealWriter(path), clock=lambda: NOW).seal()

        assert not is_noticed(SealFile(path), rows), cut
        assert path.read_bytes().startswith(lines[0])


def test_a_whole_seal_without_its_end_is_never_taken_off(tmp_path):
    rows = rows_of(STREAMS)
    path = sealed(tmp_path / "seals", rows).path
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\x0b")

    with pytest.raises(SealsDamagedError, match="seal 3"):
        Sealer(RowLog(rows), SealWriter(path), clock=lambda: NOW).seal()

    assert path.read_bytes() == data[:-1] + b"\x0b"


def test_a_writer_notices_that_seals_are_gone(tmp_path):
    rows = rows_of(STREAMS)
    log = RowLog(rows[:4])
    sealer = Sealer(log, SealWriter(tmp_path / "seals"), clock=lambda: NOW)
    sealer.seal()
    (tmp_path / "seals").write_bytes(b"")
    log.rows = rows

    with pytest.raises(SealsDamagedError, match="is gone from its end"):
        sealer.seal()


def test_many_sealers_of_one_file_take_turns(tmp_path):
    rows = rows_of(STREAMS * 50)
    log = RowLog()
    path = tmp_path / "seals"
    go, growing = threading.Barrier(4, timeout=60), threading.Lock()
    results = []

    def work():
        sealer = Sealer(log, SealWriter(path), clock=lambda: NOW)
        go.wait()
        for end in range(3, len(rows) + 3, 3):
            with growing:  # else one that was overtaken would take rows away again
                log.rows = rows[: max(end, len(log.rows))]
            results.append(sealer.seal().events)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(results) == len(rows)
    verdict = verify_log(RowLog(rows), Checks(seals=SealFile(path)))
    assert (verdict.ok, verdict.sealed) == (True, len(rows))


def test_a_file_that_is_missing_or_may_not_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="missing: No such file"):
        SealFile(tmp_path / "missing").read()
    with pytest.raises(InputError, match="No such file"):
        Sealer(RowLog(), SealWriter(tmp_path / "no" / "folder"), clock=lambda: NOW).seal()


def test_keys_are_read_from_pem_files_and_nothing_else_is_taken(tmp_path, key):
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "private.pem").write_bytes(private)
    (tmp_path / "public.pem").write_bytes(public)
    (tmp_path / "other.pem").write_bytes(b"-----BEGIN NOTHING-----\n")

    signature = read_signing_key(tmp_path / "private.pem").sign(b"data")

    assert read_checking_key(tmp_path / "public.pem").is_signed(b"data", signature)
    assert not read_checking_key(tmp_path / "public.pem").is_signed(b"date", signature)
    for name in ("public.pem", "other.pem"):
        with pytest.raises(ConfigurationError, match="no private Ed25519 key"):
            read_signing_key(tmp_path / name)
    for name in ("private.pem", "other.pem"):
        with pytest.raises(ConfigurationError, match="no public Ed25519 key"):
            read_checking_key(tmp_path / name)
    with pytest.raises(InputError, match=r"absent\.pem"):
        read_signing_key(tmp_path / "absent.pem")
