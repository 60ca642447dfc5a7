"""Gaps: which positions follow each other, and when a gap counts as final."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from eventcore.stores.postgres.gaps import Fence, GapWatch, contiguous


@given(st.integers(0, 50), st.sets(st.integers(1, 80)))
def test_positions_follow_each_other_up_to_the_first_gap(after, missing):
    positions = [position for position in range(after + 1, 100) if position not in missing]

    count = contiguous(after, positions)

    expected = 0
    while expected < len(positions) and positions[expected] == after + expected + 1:
        expected += 1
    assert count == expected


class Server:
    """What a server would answer, one question after another: its name, its head, the holders."""

    def __init__(self, *answers: tuple[str, int, list[str]]) -> None:
        self.answers = list(answers)

    def fetch(
        self, statement: bytes, parameters: object = (), *, prepare: bool | None = False
    ) -> list[tuple[Any, ...]]:
        name, head, holders = self.answers.pop(0)
        listed: list[str | None] = [*holders] or [None]
        return [(name, head, holder) for holder in listed]


def watch(server: Server) -> GapWatch:
    return GapWatch(cast("Any", server), {"select_holders": b"", "describe_holders": b""}, "t")


def test_a_gap_that_nobody_holds_is_final_at_once():
    gaps = watch(Server(("a", 10, [])))

    assert gaps.ask() is None
    assert gaps.settled == ("a", 10)


def test_only_those_who_held_it_at_first_are_waited_for():
    gaps = watch(
        Server(("a", 10, ["3/1", "4/1"]), ("a", 12, ["4/1", "5/9"]), ("a", 15, ["5/9", "3/2"]))
    )

    fence = gaps.ask()
    fence = gaps.ask(fence)
    assert fence == Fence("a", 10, frozenset({"4/1"}))
    assert gaps.settled == ("", 0)

    assert gaps.ask(fence) is None
    assert gaps.settled == ("a", 10)


def test_when_nobody_is_left_everything_there_is_now_is_final():
    gaps = watch(Server(("a", 10, ["3/1"]), ("a", 15, [])))

    assert gaps.ask(gaps.ask()) is None
    assert gaps.settled == ("a", 15)


def test_what_is_final_never_goes_back_on_one_server():
    gaps = watch(Server(("a", 10, []), ("a", 7, [])))

    gaps.ask()
    gaps.ask()

    assert gaps.settled == ("a", 10)


def test_on_another_server_everything_is_asked_anew():
    gaps = watch(Server(("a", 20, ["3/1"]), ("b", 15, ["3/1"]), ("b", 16, [])))
    fence = gaps.ask()

    fence = gaps.ask(fence)
    assert fence == Fence("b", 15, frozenset({"3/1"}))
    assert gaps.ask(fence) is None
    assert gaps.settled == ("b", 16)


def test_a_server_that_has_lost_positions_is_believed_only_as_far_as_it_goes():
    gaps = watch(Server(("a", 20, []), ("b", 15, [])))
    gaps.ask()

    gaps.ask()

    assert gaps.settled == ("b", 15)


def test_what_was_found_on_a_server_that_is_gone_is_forgotten_once():
    gaps = watch(Server(("a", 20, []), ("b", 15, [])))
    gaps.ask()
    of_the_first = gaps.settled
    gaps.ask()

    gaps.forget(of_the_first)
    assert gaps.settled == ("b", 15)
    gaps.forget(gaps.settled)
    assert gaps.settled == ("", 0)


def test_one_whose_age_is_hidden_may_be_the_oldest():
    class Described:
        def fetch(self, *_: object) -> list[tuple[Any, ...]]:
            ages = {"3/1": 0.5, "3/2": None, "3/3": 9.0}
            return [(1, name, age, None, None, None) for name, age in ages.items()]

    described = watch(cast("Any", Described())).describe()

    assert [one.virtual_transaction for one in described] == ["3/2", "3/3", "3/1"]
