"""Lines come out of any input whole, numbered, and with a clear word when the input is damaged."""

import gzip
import io

import pytest

from eventcore.errors import InputError
from eventcore.ingestion import lines as lines_module
from eventcore.ingestion.lines import Line, open_input, read_lines


def read(data: bytes) -> list[Line]:
    return list(read_lines(io.BytesIO(data), "x"))


def test_lines_are_numbered_as_they_stand_and_blank_ones_are_left_out():
    assert read(b"a\n\n  \nb\n") == [Line(1, b"a"), Line(4, b"b")]


def test_the_last_line_needs_no_line_end_and_windows_line_ends_are_taken_off():
    assert read(b"a\r\nb") == [Line(1, b"a"), Line(2, b"b")]


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    assert read(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}") == [Line(1, b"{}"), Line(2, b"\xef\xbb\xbf{}")]


def test_bytes_that_are_not_utf_8_come_out_as_they_are():
    assert read(b"\xff\xfe\n") == [Line(1, b"\xff\xfe")]


def test_an_empty_input_has_no_lines():
    assert read(b"") == []


def test_a_line_over_the_limit_stops_the_reading_behind_those_before_it(monkeypatch):
    monkeypatch.setattr(lines_module, "LINE_BYTES_MAX", 10)
    found = read_lines(io.BytesIO(b"short\n" + b"x" * 11 + b"\n"), "big.jsonl")

    assert next(found) == Line(1, b"short")
    with pytest.raises(InputError, match=r"big\.jsonl: line 2 is longer than 10 bytes"):
        next(found)


@pytest.mark.parametrize("name", ["events.jsonl.gz", "events.jsonl"])
def test_gzip_is_recognised_by_its_content(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a\nb\n"))

    with open_input(str(path)) as stream:
        assert [line.data for line in read_lines(stream, name)] == [b"a", b"b"]


def test_a_gzip_file_that_breaks_off_says_where(tmp_path):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"".join(b"line %d\n" % i for i in range(50_000)))[:-2_000])

    with open_input(str(path)) as stream:
        found = read_lines(stream, "cut.gz")
        read = [next(found) for _ in range(1_000)]
        with pytest.raises(InputError, match=r"cut\.gz: it breaks off after line \d+"):
            list(found)
    assert read[-1] == Line(1_000, b"line 999")


def test_a_missing_file_is_named(tmp_path):
    with (
        pytest.raises(InputError, match=r"nothing\.jsonl: No such file or directory"),
        open_input(str(tmp_path / "nothing.jsonl")),
    ):
        pass


def test_a_folder_is_no_input(tmp_path):
    with pytest.raises(InputError, match="Is a directory"), open_input(str(tmp_path)):
        pass


def test_a_dash_is_standard_input(monkeypatch):
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(gzip.compress(b"a\n")))

    monkeypatch.setattr("sys.stdin", Stdin())
    with open_input("-") as stream:
        assert [line.data for line in read_lines(stream, "-")] == [b"a"]


def test_standard_input_that_is_closed_is_no_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)

    with pytest.raises(InputError, match="standard input: it is closed"), open_input("-"):
        pass


def test_a_file_that_opens_and_cannot_be_read_is_named():
    with (
        pytest.raises(InputError, match="/proc/self/mem: Input/output error"),
        open_input("/proc/self/mem"),
    ):
        pass
