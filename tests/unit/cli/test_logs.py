"""Logs of a service: a line a record, its facts beside its words."""

import json
import logging

import pytest

from eventcore.cli.logs import LogForm, logging_to_stderr
from eventcore.cli.options import OPTIONS

LOGGER = logging.getLogger("eventcore.projections")


def test_a_record_is_one_json_object_with_its_facts(capsys: pytest.CaptureFixture[str]):
    with logging_to_stderr(LogForm.JSON):
        LOGGER.info("applied %d events", 3, extra={"events": 3, "shares": {"orders": [1, 2]}})

    [line] = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "logger": "eventcore.projections",
        "message": "applied 3 events",
        "events": 3,
        "shares": {"orders": [1, 2]},
    }


def test_for_people_it_is_one_line_that_no_terminal_obeys(capsys: pytest.CaptureFixture[str]):
    with logging_to_stderr(LogForm.PLAIN):
        LOGGER.warning("away:\nno [bold]route\x1b[2J")

    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING away: no [bold]route\N{REPLACEMENT CHARACTER}[2J")


def test_without_a_form_only_warnings_are_written_in_the_form_of_the_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OPTIONS, "json", True)
    with logging_to_stderr(None):
        LOGGER.info("all is well")
        LOGGER.warning("not so well")

    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "not so well"


def test_afterwards_the_logger_is_as_before():
    logger = logging.getLogger("eventcore")
    before = (logger.level, logger.propagate, list(logger.handlers))

    with logging_to_stderr(LogForm.JSON):
        assert logger.level == logging.INFO

    assert (logger.level, logger.propagate, list(logger.handlers)) == before
