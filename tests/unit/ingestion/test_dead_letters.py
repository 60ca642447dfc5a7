"""Dead letters keep the original bytes, whatever they are."""

import base64
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from eventcore.errors import InputError
from eventcore.ingestion.dead_letters import DeadLetter, DeadLetterFile
from eventcore.ingestion.lines import Line


def letter(number: int) -> DeadLetter:
    return DeadLetter(Line(number, b"x"), "not-json", "")


def lines_in(path) -> list[int]:
    return [json.loads(text)["line"] for text in path.read_text().splitlines()]


def test_a_letter_says_line_reason_and_message_and_keeps_the_raw_text():
    found = DeadLetter(Line(7, '{"ü": "\\u0000"}'.encode()), "not-json", "it is not")

    assert json.loads(found.to_json()) == {
        "line": 7,
        "reason": "not-json",
        "message": "it is not",
        "raw": '{"ü": "\\u0000"}',
    }


def test_bytes_that_are_not_utf_8_are_kept_as_base64_and_marked():
    found = json.loads(DeadLetter(Line(1, b"\xff\x00"), "not-json", "").to_json())

    assert base64.b64decode(found["raw"]) == b"\xff\x00"
    assert found["encoding"] == "base64"


def test_the_file_is_begun_anew_by_each_run_and_only_its_owner_may_read_it(tmp_path):
    path = tmp_path / "dead.jsonl"
    path.touch(0o644)
    for number in (1, 2):
        with DeadLetterFile(path) as letters:
            letters.write([letter(number)])

    assert lines_in(path) == [2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_end_letters_are_beside_the_file_and_that_is_as_it_was(tmp_path):
    path, partial = tmp_path / "dead.jsonl", tmp_path / "dead.jsonl.partial"
    path.write_text("of the run before")

    with DeadLetterFile(path) as letters:
        letters.write([letter(1)])

        assert path.read_text() == "of the run before"
        assert lines_in(partial) == [1]
        assert letters.partial == partial
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600

    assert lines_in(path) == [1]


def test_a_run_that_fails_keeps_its_letters_apart_until_the_next_one(tmp_path):
    path, partial = tmp_path / "dead.jsonl", tmp_path / "dead.jsonl.partial"
    path.write_text("of the run before")

    with suppress(KeyboardInterrupt), DeadLetterFile(path) as letters:
        letters.write([letter(1)])
        raise KeyboardInterrupt

    assert path.read_text() == "of the run before"
    assert lines_in(partial) == [1]
    with DeadLetterFile(path) as letters:
        letters.write([letter(2)])
    assert lines_in(path) == [2]
    assert not partial.exists()


def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "kept").mkdir()
    link, place = tmp_path / "dead.jsonl", tmp_path / "kept" / "dead.jsonl"
    link.symlink_to(place)

    with DeadLetterFile(link) as letters:
        letters.write([letter(1)])

    assert link.is_symlink()
    assert lines_in(place) == [1]


def test_what_has_the_name_of_the_partial_file_is_not_written_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("data")
    (tmp_path / "dead.jsonl.partial").symlink_to(precious)

    with DeadLetterFile(tmp_path / "dead.jsonl") as letters:
        letters.write([letter(1)])

    assert precious.read_text() == "data"


def test_what_is_no_regular_file_is_written_directly(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    with DeadLetterFile(pipe) as letters:
        assert letters.partial is None
        letters.write([letter(1)])

    assert json.loads(os.read(reader, 1_000))["line"] == 1
    os.close(reader)
    assert list(tmp_path.iterdir()) == [pipe]


def test_letters_that_cannot_be_written_are_an_error_that_names_the_file():
    with (
        pytest.raises(InputError, match="/dev/full: No space left on device"),
        DeadLetterFile(Path("/dev/full")) as letters,
    ):
        letters.write([letter(1)])


def test_two_runs_on_one_file_do_not_pass_for_each_other(tmp_path):
    first = DeadLetterFile(tmp_path / "dead.jsonl")
    first.write([letter(1)])

    with DeadLetterFile(tmp_path / "dead.jsonl") as second:
        second.write([letter(2)])
        with pytest.raises(InputError, match="another run replaced it"):
            first.finish()

    assert lines_in(tmp_path / "dead.jsonl") == [2]


def test_a_file_whose_folder_goes_away_is_an_error_at_the_end(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    letters = DeadLetterFile(folder / "dead.jsonl")
    (folder / "dead.jsonl.partial").unlink()
    folder.rmdir()

    with pytest.raises(InputError, match="No such file or directory"):
        letters.finish()


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="No such file or directory"):
        DeadLetterFile(tmp_path / "no" / "dead.jsonl")


def test_a_folder_is_no_place_for_letters(tmp_path):
    with pytest.raises(InputError, match="Is a directory"):
        DeadLetterFile(tmp_path)
