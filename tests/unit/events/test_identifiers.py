"""Generated ids: version 7, strictly increasing, whatever the clock and the threads do."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eventcore.events.identifiers import (
    UUIDv7Generator,
    event_id_of_command,
    event_id_of_reservation,
)


def ticking(times: Iterator[int]) -> Callable[[], int]:
    return lambda: next(times)


def test_an_id_holds_the_clock_the_counter_and_the_random_bits() -> None:
    generate = UUIDv7Generator(lambda: 0x0123456789AB, lambda n: b"\xff" * n)

    assert str(generate()) == "01234567-89ab-7000-bfff-ffffffffffff"
    assert str(generate()) == "01234567-89ab-7001-bfff-ffffffffffff"
    assert generate().version == 7
    assert generate().variant == "specified in RFC 4122"


@given(st.lists(st.integers(1, 2**47), min_size=2, max_size=50))
def test_ids_increase_strictly_also_when_the_clock_steps_back(times: list[int]) -> None:
    generate = UUIDv7Generator(ticking(iter(times)), lambda n: b"\x00" * n)

    made = [generate() for _ in times]

    assert made == sorted(set(made))


def test_ids_increase_strictly_within_one_millisecond_beyond_the_counter() -> None:
    generate = UUIDv7Generator(lambda: 1_000, lambda n: b"\x00" * n)

    made = [generate() for _ in range(10_000)]

    assert made == sorted(set(made))
    assert made[4_095].int >> 80 == 1_000
    assert made[4_096].int >> 80 == 1_001


def test_threads_never_get_the_same_id_and_each_sees_its_own_increase() -> None:
    generate = UUIDv7Generator(lambda: 1, lambda n: b"\x00" * n)

    def make(_: int) -> list[UUID]:
        return [generate() for _ in range(2_000)]

    with ThreadPoolExecutor(8) as threads:
        batches = list(threads.map(make, range(8)))

    assert len({made for batch in batches for made in batch}) == 16_000
    assert all(batch == sorted(batch) for batch in batches)


def test_an_event_that_is_answered_and_the_value_it_reserves_make_different_ids() -> None:
    id_ = UUID(int=1)

    assert event_id_of_reservation(id_, 0) == event_id_of_reservation(id_, 0)
    assert event_id_of_reservation(id_, 0) != event_id_of_reservation(id_, 1)
    assert event_id_of_reservation(id_, 0) != event_id_of_command(id_, 0)


def test_the_same_command_always_makes_the_same_event_ids() -> None:
    command = UUID("0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000")

    assert event_id_of_command(command, 0) == event_id_of_command(command, 0)
    assert len({event_id_of_command(command, n) for n in range(100)}) == 100
    assert event_id_of_command(command, 0).version == 5
