"""Dead letters keep the original bytes, whatever they are."""

import base64
import json
import stat

import pytest

from eventcore.errors import InputError
from eventcore.ingestion.dead_letters import DeadLetter, DeadLetterFile
from eventcore.ingestion.lines import Line


def test_a_letter_says_line_reason_and_message_and_keeps_the_raw_text():
    letter = DeadLetter(Line(7, '{"ü": "\\u0000"}'.encode()), "not-json", "it is not")

    assert json.loads(letter.to_json()) == {
        "line": 7,
        "reason": "not-json",
        "message": "it is not",
        "raw": '{"ü": "\\u0000"}',
    }


def test_bytes_that_are_not_utf_8_are_kept_as_base64_and_marked():
    letter = json.loads(DeadLetter(Line(1, b"\xff\x00"), "not-json", "").to_json())

    assert base64.b64decode(letter["raw"]) == b"\xff\x00"
    assert letter["encoding"] == "base64"


def test_the_file_is_begun_anew_by_each_run_and_only_its_owner_may_read_it(tmp_path):
    path = tmp_path / "dead.jsonl"
    for number in (1, 2):
        with DeadLetterFile(path) as letters:
            letters.write([DeadLetter(Line(number, b"x"), "not-json", "")])

    assert [json.loads(line)["line"] for line in path.read_text().splitlines()] == [2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="No such file or directory"):
        DeadLetterFile(tmp_path / "no" / "dead.jsonl")
