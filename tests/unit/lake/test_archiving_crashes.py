"""A run that dies after any step is finished by the next one; what was published never changes."""

import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from eventcore.lake.buckets import Bucket
from eventcore.lake.reading import Archive, open_archive
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing import EventMaker
from tests.s3 import S3Place
from tests.unit.lake.logs import contents, fill, run


class Killed(BaseException):
    """The process is gone: nothing catches it, and nothing is done after it."""


class Dying:
    """Lets so many steps of writing happen, then none."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.lock = threading.Lock()

    def step(self) -> None:
        with self.lock:
            if self.left <= 0:
                raise Killed
            self.left -= 1

    def wrap(self, function: Any) -> Any:
        def stepped(*args: Any, **options: Any) -> Any:
            self.step()
            return function(*args, **options)

        return stepped


def mortal(monkeypatch: pytest.MonkeyPatch, steps: int) -> Dying:
    """Every step that a folder's archiver takes on the disk counts."""
    dying = Dying(steps)
    monkeypatch.setattr(tempfile, "mkstemp", dying.wrap(tempfile.mkstemp))
    for name in ("fsync", "link"):
        monkeypatch.setattr(os, name, dying.wrap(getattr(os, name)))
    for name in ("mkdir", "unlink", "chmod"):
        monkeypatch.setattr(Path, name, dying.wrap(getattr(Path, name)))
    return dying


def mortal_on_s3(url: str, steps: int) -> tuple[Archive, Dying]:
    """Every put counts."""
    archive, dying = open_archive(url), Dying(steps)
    assert isinstance(archive.folder, Bucket)
    client = archive.folder._client
    client.put_object = dying.wrap(client.put_object)
    return archive, dying


def a_log(count: int = 10) -> MemoryLog:
    log = MemoryLog()
    fill(log, count, hours=30)
    return log


def steps_of_a_run(tmp_path: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        dying = mortal(patch, 10**6)
        run(open_archive(str(tmp_path / "whole")), a_log(), events_max=4)
        return 10**6 - dying.left


def test_a_run_that_dies_after_any_step_is_finished_by_the_next(tmp_path):
    total = steps_of_a_run(tmp_path)
    assert total > 60
    expected = contents(tmp_path / "whole")
    lost = 0

    for steps in range(total):
        folder, log = tmp_path / str(steps), a_log()
        with pytest.MonkeyPatch.context() as patch:
            mortal(patch, steps)
            with pytest.raises(Killed):
                run(open_archive(str(folder)), log, events_max=4)
        published = contents(folder)
        lost += published != expected

        run(open_archive(str(folder)), log, events_max=4)

        after = contents(folder)
        assert {name: after[name] for name in published} == published
        assert after == expected, steps
    assert lost > total * 0.9


def test_a_run_that_died_is_finished_as_it_was_planned_though_the_log_has_moved_on(tmp_path):
    total = steps_of_a_run(tmp_path)

    for steps in range(0, total, 3):
        folder, log = tmp_path / str(steps), a_log()
        with pytest.MonkeyPatch.context() as patch:
            mortal(patch, steps)
            with pytest.raises(Killed):
                run(open_archive(str(folder)), log, events_max=4)
        published = contents(folder)
        fill(log, 9, make=EventMaker(series=3), hours=30)

        run(open_archive(str(folder)), log, events_max=4)

        after = contents(folder)
        assert {name: after[name] for name in published} == published
        archive = open_archive(str(folder))
        assert list(archive.read(codec=log.codec)) == list(log.read()), steps
        named = {file.name for file in archive.files()}
        assert {name for name in after if name.endswith(".parquet")} == named, steps


def test_on_s3_likewise(s3: S3Place):
    log = a_log()
    whole, puts = mortal_on_s3(s3.url("whole"), 10**6)
    run(whole, log, events_max=4)
    total = 10**6 - puts.left
    expected = objects(s3, "whole")
    assert total == len(expected) > 10

    for steps in range(total):
        dying, _ = mortal_on_s3(s3.url(str(steps)), steps)
        with pytest.raises(Killed):
            run(dying, log, events_max=4)
        published = objects(s3, str(steps))

        again = open_archive(s3.url(str(steps)))
        run(again, log, events_max=4)

        after = objects(s3, str(steps))
        assert {name: after[name] for name in published} == published
        assert after == expected
        assert list(again.read(codec=log.codec)) == list(log.read())


def test_two_archivers_at_once_make_one_archive(tmp_path):
    log = a_log(200)
    folder = str(tmp_path / "lake")
    start = threading.Barrier(4)
    errors = []

    def archive():
        try:
            opened = open_archive(folder)
            start.wait(30)
            run(opened, log, events_max=20)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=archive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    made = open_archive(folder)
    assert made.verify() == 200
    assert list(made.read(codec=log.codec)) == list(log.read())
    named = {file.name for file in made.files()}
    there = contents(tmp_path / "lake")
    assert {name for name in there if name.endswith(".parquet")} == named


def objects(s3: S3Place, prefix: str) -> dict[str, bytes]:
    client = s3.client()
    found = client.list_objects_v2(Bucket=s3.bucket, Prefix=f"{prefix}/").get("Contents", [])
    return {
        one["Key"].removeprefix(f"{prefix}/"): client.get_object(Bucket=s3.bucket, Key=one["Key"])[
            "Body"
        ].read()
        for one in found
    }
