"""The Postgres log when a server is killed, restarted, replaced or full."""

import errno
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from eventcore.errors import StoreUnavailableError
from eventcore.stores.log import AppendResult, StreamAppend, Subscription
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.integration.postgres_threads import HANG_SECONDS, in_thread

pytestmark = pytest.mark.postgres


@pytest.fixture
def make() -> EventMaker:
    return EventMaker()


def take(subscription: Subscription, count: int) -> list[int]:
    """So many positions, however many pages they come in."""
    seen: list[int] = []
    while len(seen) < count:
        page = subscription.next_page(HANG_SECONDS)
        assert page is not None
        assert page.events, "nothing came"
        seen += [event.position for event in page.events]
    return seen


def fill_up(file: Path) -> None:
    """Make a file that takes all the space there is."""
    with file.open("wb", buffering=0) as opened:
        try:
            while opened.write(bytes(4096)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["restart", "kill"])
def test_writers_and_a_follower_outlive_a_server_that_restarts(own_postgres, kind):
    cluster = own_postgres()
    log, count = PostgresLog(cluster.url, schema="shop"), 40
    halfway = threading.Barrier(4 + 1)

    def write(number: int) -> list[AppendResult]:
        make, results = EventMaker(series=number), []
        for version in range(count):
            if version == count // 2:
                halfway.wait(HANG_SECONDS)
            results.append(log.append([StreamAppend(f"own-{number}", version, [make()])]))
        return results

    def follow() -> list[int]:
        with log.subscribe() as subscription:
            seen: list[int] = []
            for event in subscription:
                seen.append(event.position)
                if len(seen) == 4 * count:
                    return seen
        return seen

    with (
        in_thread(follow) as followed,
        in_thread(lambda: write(1)) as one,
        in_thread(lambda: write(2)) as two,
        in_thread(lambda: write(3)) as three,
        in_thread(lambda: write(4)) as four,
    ):
        halfway.wait(HANG_SECONDS)
        if kind == "kill":
            cluster.kill()
        cluster.restart()

    stored = [event.position for event in log.read()]
    log.close()
    told = sorted(
        position
        for results in (one, two, three, four)
        for result in results[0]
        for position in result.positions
    )
    assert told == stored
    assert followed == [stored]
    assert len(stored) == 4 * count


def test_positions_that_a_crash_threw_away_hold_nobody(own_postgres, make):
    cluster = own_postgres()
    log = PostgresLog(cluster.url, schema="shop")
    log.append([StreamAppend("order-1", 0, make.many(3))])
    with closing(psycopg.connect(cluster.url)) as other:
        other.execute("SELECT nextval('shop.eventcore_log_position')")
        cluster.kill()
        cluster.restart()

    (position,) = log.append([StreamAppend("order-1", 3, [make()])]).positions
    with log.subscribe() as subscription:
        seen = take(subscription, 4)
    log.close()

    assert position > 4  # it jumped
    assert seen == [1, 2, 3, position]


@pytest.mark.slow
def test_a_standby_is_refused_and_followed_once_it_takes_over(own_postgres, make):
    primary = own_postgres()
    log = PostgresLog(primary.url, schema="shop")
    log.append([StreamAppend("order-1", 0, make.many(3))])
    standby = own_postgres(standby_of=primary)
    with pytest.raises(StoreUnavailableError):
        PostgresLog(standby.url, schema="shop")
    log.close()

    both = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
    log = PostgresLog(both, schema="shop")
    with log.subscribe() as subscription:
        seen = take(subscription, 3)
        primary.kill()
        standby.promote()
        (position,) = log.append([StreamAppend("order-1", 3, [make()])]).positions
        seen += take(subscription, 1)
    log.close()

    assert seen == [1, 2, 3, position]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder on a disk of 4 MB that the server may write to."""
    folder = Path(tempfile.mkdtemp(prefix="eventcore-postgres-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs", str(folder)]
    is_mounted = os.geteuid() == 0 and (
        subprocess.run(mount, check=False, capture_output=True).returncode == 0
    )
    try:
        if not is_mounted:
            pytest.skip("NOT TESTED: a disk that is full takes the right to mount one")
        data = folder / "data"
        data.mkdir()
        data.chmod(0o777)
        yield data
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_full_disk_writes_nothing_and_the_same_append_succeeds_with_space(
    small_disk, own_postgres, make
):
    cluster = own_postgres()
    shutil.chown(small_disk, cluster.data.owner())
    with psycopg.connect(cluster.url, autocommit=True) as administrator:
        administrator.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        administrator.execute("ALTER DATABASE postgres SET default_tablespace = small")
    log = PostgresLog(cluster.url, schema="shop")
    log.append([StreamAppend("order-1", 0, make.many(2))])
    append = [
        StreamAppend("user-1", 0, [make()]),
        StreamAppend("order-1", 2, [make(data={"text": os.urandom(100_000).hex()})]),
    ]

    filling = small_disk.with_name("filling")
    fill_up(filling)
    with pytest.raises(StoreUnavailableError, match="No space left on device"):
        log.append(append)
    before = (len(list(log.read())), log.stream_version("user-1"))
    filling.unlink()

    assert before == (2, 0)
    assert log.append(append).versions == (1, 3)
    log.close()
