"""Archiving: every event once, in files that never change, whatever is run twice or by two."""

import json
import pickle
from hashlib import sha256

import pyarrow.parquet as pq
import pytest

from eventcore.errors import (
    ArchiveDamagedError,
    ArchiveOfAnotherLogError,
    ConfigurationError,
    StoreUnavailableError,
    TrimmedHistoryError,
)
from eventcore.events.registry import default_registry
from eventcore.lake.archiving import Archiver, SegmentLimits
from eventcore.lake.checking import first_damage
from eventcore.lake.layout import family_of, shard_of
from eventcore.lake.reading import open_archive, recorded_of
from eventcore.lake.stitching import ArchivedLog
from eventcore.stores.log import LogFilter, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing import EventMaker
from tests.unit.lake.logs import STREAMS, archived, contents, fill, run


@pytest.fixture
def log():
    log = MemoryLog()
    fill(log, 47)
    return log


def test_what_is_read_from_an_archive_is_what_the_log_has(log, tmp_path):
    archive = archived(log, tmp_path)

    assert list(archive.read(codec=log.codec)) == list(log.read())
    assert (archive.until, archive.events, len(archive.manifests)) == (47, 47, 5)
    assert list(archive.read(12, until=33, codec=log.codec)) == list(log.read(12, until=33))
    where = LogFilter(
        types=frozenset({"user.registered", "parcel.sent"}), categories=frozenset({"order"})
    )
    assert list(archive.read(where=where, codec=log.codec)) == list(log.read(where=where))
    assert list(archive.read(47, codec=log.codec)) == []


def test_a_stream_is_read_between_versions_and_both_ways(log, tmp_path):
    archive = archived(log, tmp_path)

    for stream in [*STREAMS, "order-none"]:
        for bounds in ({}, {"after": 1}, {"until": 2}, {"after": 1, "until": 3}, {"until": 0}):
            for backwards in (False, True):
                found = archive.read_stream(stream, codec=log.codec, backwards=backwards, **bounds)
                expected = log.read_stream(stream, backwards=backwards, **bounds)
                assert list(found) == list(expected), (stream, bounds, backwards)


def test_shards_hold_each_stream_whole_and_in_order(log, tmp_path):
    archive = archived(log, tmp_path)

    by_shard = {
        shard: [
            event for batch in archive.read_shard(shard) for event in recorded_of(batch, log.codec)
        ]
        for shard in archive.shards()
    }

    assert sorted((e for each in by_shard.values() for e in each), key=lambda e: e.position) == (
        list(log.read())
    )
    for shard, events in by_shard.items():
        assert [e.position for e in events] == sorted(e.position for e in events)
        assert {shard_of(e.stream, 3) for e in events} <= {shard}
    part = [e for b in archive.read_shard(1, after=7, until=31) for e in recorded_of(b, log.codec)]
    assert part == [e for e in by_shard[1] if 7 < e.position <= 31]


def test_events_are_found_by_position(log, tmp_path):
    archive = archived(log, tmp_path)

    found = archive.at([3, 47, 20, 99, 3], log.codec)

    events = list(log.read())
    assert found == {3: events[2], 20: events[19], 47: events[46]}


def test_files_lie_by_family_day_and_shard_under_names_that_say_their_positions(log, tmp_path):
    archive = archived(log, tmp_path, events_max=100)

    for file in archive.files():
        year, month, day = file.day.split("-")
        assert file.name == (
            f"raw/events/{file.family}-events/year={year}/month={month}/day={day}/"
            f"shard={file.shard:03}/0000000001-0000000047.parquet"
        )
        data = (tmp_path / file.name).read_bytes()
        assert (len(data), sha256(data).hexdigest()) == (file.bytes, file.sha256)
        table = pq.read_table(tmp_path / file.name, partitioning=None)
        assert table.num_rows == file.events
        assert {str(at.as_py().date()) for at in table["timestamp"]} == {file.day}
    # The last one is of a type that nobody declared: the first part of its name.
    assert {file.family for file in archive.files()} == {"business", "user", "system", "parcel"}


def test_each_manifest_names_the_one_before_and_goes_on_where_it_ends(log, tmp_path):
    archive = archived(log, tmp_path)

    before = b""
    for number in range(1, 6):
        data = (tmp_path / f"raw/events/_manifests/{number:010}.json").read_bytes()
        said = json.loads(data)
        assert said["previous"] == (sha256(before).hexdigest() if before else None)
        assert said["after"] == (json.loads(before)["until"] if before else 0)
        assert said["events"] == sum(file["events"] for file in said["files"])
        before = data
    assert archive.manifests[-1].sha256 == sha256(before).hexdigest()


def test_a_second_run_changes_nothing_and_a_later_one_adds(log, tmp_path):
    archive = archived(log, tmp_path)
    before = contents(tmp_path)

    assert run(archive, log).events == 0
    assert contents(tmp_path) == before

    fill(log, 5, make=EventMaker(series=2))
    report = run(open_archive(str(tmp_path)), log)

    assert (report.segments, report.events, report.until) == (1, 5, 52)
    assert {name: contents(tmp_path)[name] for name in before} == before
    assert archive.refresh()
    assert list(archive.read(codec=log.codec)) == list(log.read())


def test_an_empty_log_leaves_nothing(tmp_path):
    report = run(open_archive(str(tmp_path / "lake")), MemoryLog())

    assert (report.segments, report.until) == (0, 0)
    assert not (tmp_path / "lake").exists()
    empty = open_archive(str(tmp_path / "lake"))
    assert (list(empty.shards()), list(empty.read(codec=MemoryLog().codec))) == ([], [])


def test_two_archives_of_one_log_are_the_same_bytes(log, tmp_path):
    archived(log, tmp_path / "one")
    archived(log, tmp_path / "two")

    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_archive_is_not_continued_with_another_log(log, tmp_path):
    archive = archived(log, tmp_path)
    before = contents(tmp_path)
    other, shorter = MemoryLog(), MemoryLog()
    fill(other, 60, make=EventMaker(series=7))
    fill(shorter, 3)

    for wrong in (other, shorter):
        with pytest.raises(ArchiveOfAnotherLogError, match="at position 47"):
            run(archive, wrong)
    assert contents(tmp_path) == before


def test_the_number_of_shards_stays(log, tmp_path):
    archive = archived(log, tmp_path, shards=3)

    with pytest.raises(ConfigurationError, match="3 shards for ever"):
        Archiver(archive, shards=4)
    with pytest.raises(ConfigurationError, match="1 to 256"):
        Archiver(open_archive(str(tmp_path / "new")), shards=257)
    Archiver(archive, shards=3)


def test_verifying_names_the_file_that_was_changed_or_is_gone(log, tmp_path):
    archive = archived(log, tmp_path)
    assert archive.verify() == 47
    assert archive.verify(after=20) == 27
    file = next(iter(archive.files()))
    path = tmp_path / file.name
    good = path.read_bytes()

    for place in range(0, len(good), 97):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(ArchiveDamagedError, match=r"shard=.*differs from the SHA-256"):
            archive.verify()
    path.unlink()
    with pytest.raises(ArchiveDamagedError, match="is missing"):
        archive.verify()
    path.write_bytes(good)
    assert archive.verify() == 47


def test_reading_with_verification_refuses_a_changed_file(log, tmp_path):
    archive = archived(log, tmp_path, events_max=100)
    file = next(iter(archive.files()))
    path = tmp_path / file.name
    good = bytearray(path.read_bytes())
    good[len(good) // 2] ^= 1
    path.write_bytes(good)

    with pytest.raises(ArchiveDamagedError, match="differs from the SHA-256"):
        list(open_archive(str(tmp_path), verify=True).read(codec=log.codec))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace(b'"events": 10', b'"events": 9', 1), "contradicts itself"),
        (lambda text: text[:-20], "cannot be read"),
        (lambda text: text.replace(b'"format": 1', b'"format": 9'), "is of format 9"),
        (lambda text: text.replace(b'"number": 2', b'"number": 3'), "contradicts itself"),
        (lambda text: text.replace(b'"previous": "', b'"previous": "0'), "by its SHA-256"),
        (lambda text: text.replace(b'"after": 10', b'"after": 9'), "where the one before it ends"),
        (lambda text: text.replace(b'"shards": 3', b'"shards": 4'), "number of shards"),
        (lambda text: text.replace(b'"shard": ', b'"shard": -'), "contradicts itself"),
        (lambda text: b"[]", "cannot be read"),
        (lambda text: text.replace(b'"files"', b'"things"'), "is not what a manifest"),
    ],
)
def test_a_changed_manifest_is_not_opened(  # noqa: PLR0917 - fixtures
    log, tmp_path, change, problem
):
    archived(log, tmp_path)
    path = tmp_path / "raw/events/_manifests/0000000002.json"
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(ArchiveDamagedError, match=problem):
        open_archive(str(tmp_path))


def test_a_manifest_that_was_changed_soundly_breaks_the_chain(log, tmp_path):
    archived(log, tmp_path)
    path = tmp_path / "raw/events/_manifests/0000000002.json"
    path.write_bytes(path.read_bytes().replace(b'"sha256": "', b'"sha256": "0', 1))

    with pytest.raises(ArchiveDamagedError, match=r"0000000003.json does not name the manifest"):
        open_archive(str(tmp_path))


def test_a_missing_manifest_is_noticed(log, tmp_path):
    archived(log, tmp_path)
    (tmp_path / "raw/events/_manifests/0000000002.json").unlink()

    with pytest.raises(ArchiveDamagedError, match=r"0000000002.json is missing"):
        open_archive(str(tmp_path))


def test_a_file_in_the_way_that_holds_other_events_stops_the_run(log, tmp_path):
    archived(log, tmp_path / "one")
    file = next(open_archive(str(tmp_path / "one")).files())
    path = tmp_path / "two" / file.name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")

    with pytest.raises(ArchiveDamagedError, match="cannot be read"):
        archived(log, tmp_path / "two")
    assert list(open_archive(str(tmp_path / "two")).manifests) == []


def test_a_file_in_the_way_with_the_same_events_packed_otherwise_is_kept(log, tmp_path):
    archived(log, tmp_path / "one", events_max=100)
    file = next(open_archive(str(tmp_path / "one")).files())
    path = tmp_path / "two" / file.name
    path.parent.mkdir(parents=True)
    rows = pq.ParquetFile(tmp_path / "one" / file.name).read()
    pq.write_table(rows, path, compression="snappy")

    archive = archived(log, tmp_path / "two", events_max=100)

    assert archive.verify() == 47
    assert list(archive.read(codec=log.codec)) == list(log.read())


def test_an_archive_goes_to_another_process_by_its_url(log, tmp_path):
    archive = archived(log, tmp_path)

    there = pickle.loads(pickle.dumps(archive))

    assert list(there.read(codec=log.codec)) == list(log.read())


@pytest.mark.parametrize("state", [b"{", b"", b"\xff\x00", b'{"v":1,"id":7,"at":"","data":{}}'])
def test_events_of_damaged_bytes_are_archived_as_they_are(tmp_path, state):
    log, make = MemoryLog(), EventMaker()
    for number in range(4):
        # One of them ends a segment, and one the archive.
        damaged = make("order.created")._replace(state=state)
        log.append([StreamAppend(f"order-{number}", 0, [make("order.created"), damaged])])

    archive = archived(log, tmp_path, events_max=3)
    again = run(archive, log)

    assert (archive.until, again.events) == (8, 0)
    assert list(archive.read(codec=log.codec)) == list(log.read())
    assert first_damage(archive) is None


def test_an_archive_of_another_log_is_refused_where_its_end_left_this_one(tmp_path):
    one, two = MemoryLog(), MemoryLog()
    fill(one, 15)
    fill(two, 3, make=EventMaker(2))
    into = archived(one, tmp_path / "one")
    of_another = archived(two, tmp_path / "two")
    newest = {event.stream: event.position for event in one.read()}
    old = [event for event in one.read(until=8) if newest[event.stream] != event.position]
    one.trim(old, archive=into.url)
    with pytest.raises(TrimmedHistoryError):
        one.read_page(2, 1)

    with pytest.raises(ArchiveOfAnotherLogError):
        run(of_another, one)
    assert run(into, one).events == 0


def test_few_events_wait_for_more_but_not_those_of_a_full_segment(tmp_path):
    log, make = MemoryLog(), EventMaker()
    fill(log, 14, make=make)
    archive = open_archive(str(tmp_path))
    few = Archiver(archive, limits=SegmentLimits(events_max=10, events_min=5))

    assert (few.run(log).events, archive.until) == (10, 10)
    assert (few.run(log).events, archive.until) == (0, 10)
    assert list(ArchivedLog(archive, log).read()) == list(log.read())
    fill(log, 1, make=make)
    assert (few.run(log).events, archive.until) == (5, 15)

    fill(log, 2, make=make)
    large = Archiver(archive, limits=SegmentLimits(bytes_max=1, events_min=50))
    assert large.run(log).events == 2


def test_a_folder_that_cannot_be_written_is_unavailable(log, tmp_path):
    (tmp_path / "raw").write_text("a file where a folder should be")

    with pytest.raises(StoreUnavailableError, match="archive"):
        archived(log, tmp_path)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://host/lake", "begins with 'ftp'"),
        ("s3:///lake", "needs a bucket"),
        ("s3://bucket/lake?colour=red", "no option 'colour'"),
        ("", "is a folder"),
        (__file__, "is a folder"),
    ],
)
def test_a_url_that_names_no_place_is_refused(url, problem):
    with pytest.raises(ConfigurationError, match=problem):
        open_archive(url)


@pytest.mark.parametrize(
    ("event_type", "family"),
    [
        ("order.paid", "business"),
        ("user.registered", "user"),
        ("parcel.sent", "parcel"),
        ("../../etc.passwd", "other"),
        ("UPPER.case", "other"),
        ("", "other"),
    ],
)
def test_a_family_is_always_the_name_of_a_folder(event_type, family):
    assert family_of(event_type, default_registry) == family
