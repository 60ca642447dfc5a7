"""One holder a value: decided by the append, whoever races."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from typing_extensions import override

from eventcore.aggregates import Aggregate, Claim, User, applies
from eventcore.app import open_app
from eventcore.commands import ChangeEmail, CloseUser, Command, RegisterUser
from eventcore.commands.reservations import reservation_id_of
from eventcore.errors import RuleViolationError
from eventcore.events import DomainEvent, Id
from tests.unit.commands.shop import Shop, log_of

CLAIM = Claim("email", "a@example.com", reason="email-taken")


@pytest.fixture(params=["memory", "sqlite"])
def shop(request, tmp_path):
    made = Shop(log_of(request.param, tmp_path))
    yield made
    made.log.close()


def register(shop, user_id: str, email: str = "a@example.com"):
    return shop.executor.execute(RegisterUser(user_id=user_id, email=email))


def refusal(act) -> str:
    with pytest.raises(RuleViolationError) as refused:
        act()
    return refused.value.reason


def test_an_address_is_reserved_in_the_same_append(shop):
    register(shop, "u-1")

    events = list(shop.log.read())
    assert [event.type for event in events] == ["user.registered", "reservation.claimed"]
    assert events[1].payload.holder == "user-u-1"
    assert events[1].causation_id == str(events[0].event_id)


def test_an_address_is_not_stored_in_its_reservation(shop):
    register(shop, "u-1")

    (_, reservation) = shop.log.read()
    assert b"example" not in reservation.state
    assert "example" not in reservation.stream


@pytest.mark.parametrize("email", ["a@example.com", "A@Example.COM", " a@example.com "])
def test_an_address_somebody_holds_is_refused_however_it_is_written(shop, email):
    register(shop, "u-1")

    assert refusal(lambda: register(shop, "u-2", email)) == "email-taken"
    assert shop.log.head() == 2


def test_a_refusal_names_the_one_refused_and_not_the_address(shop):
    register(shop, "u-1")

    with pytest.raises(RuleViolationError) as refused:
        register(shop, "u-2")

    assert str(refused.value) == "user-u-2: another user holds the same email (email-taken)"


def test_closing_an_account_frees_its_address(shop):
    register(shop, "u-1")
    shop.executor.execute(CloseUser(user_id="u-1"))

    register(shop, "u-2")

    assert shop.repository.get(User, "u-2").email == "a@example.com"


def test_changing_an_address_frees_the_old_one_and_takes_the_new_one(shop):
    register(shop, "u-1")
    shop.executor.execute(ChangeEmail(user_id="u-1", email="b@example.com"))

    register(shop, "u-2", "a@example.com")

    assert refusal(lambda: register(shop, "u-3", "b@example.com")) == "email-taken"
    change_back = ChangeEmail(user_id="u-1", email="a@example.com")
    assert refusal(lambda: shop.executor.execute(change_back)) == "email-taken"


def test_writing_one_s_own_address_differently_changes_no_reservation(shop):
    register(shop, "u-1")

    result = shop.executor.execute(ChangeEmail(user_id="u-1", email="A@example.com"))

    assert shop.log.head() == result.position == 3


def test_an_address_may_come_back_to_its_former_holder(shop):
    register(shop, "u-1")
    for email in ("b@example.com", "a@example.com"):
        shop.executor.execute(ChangeEmail(user_id="u-1", email=email))

    assert refusal(lambda: register(shop, "u-2")) == "email-taken"


def test_the_longest_id_can_hold_an_address(shop):
    register(shop, "u" * 128)
    shop.executor.execute(CloseUser(user_id="u" * 128))

    assert register(shop, "u-2").version == 1


def test_of_eight_threads_racing_for_one_address_exactly_one_wins(shop):
    start = threading.Barrier(8, timeout=60)

    def race(number: int) -> str:
        start.wait()
        try:
            register(shop, f"u-{number}")
        except RuleViolationError as refused:
            return refused.reason
        return "won"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(race, range(8)))

    assert sorted(results) == ["email-taken"] * 7 + ["won"]
    assert [event.type for event in shop.log.read()] == ["user.registered", "reservation.claimed"]


def test_of_eight_applications_on_one_file_racing_for_one_address_exactly_one_wins(tmp_path):
    url = f"sqlite:///{tmp_path / 'users.db'}"
    open_app(url).close()
    start = threading.Barrier(8, timeout=60)

    def race(number: int) -> str:
        with open_app(url) as app:
            start.wait()
            try:
                app.execute(RegisterUser(user_id=f"u-{number}", email="a@example.com"))
            except RuleViolationError as refused:
                return refused.reason
            return "won"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(race, range(8)))

    assert sorted(results) == ["email-taken"] * 7 + ["won"]


def test_the_digest_depends_on_the_value_the_kind_and_the_key():
    other_value = Claim("email", "b@example.com", reason="email-taken")
    other_kind = Claim("phone", "a@example.com", reason="email-taken")
    ids = {
        reservation_id_of(CLAIM, b""),
        reservation_id_of(CLAIM, b"key"),
        reservation_id_of(CLAIM, b"k" * 65),
        reservation_id_of(other_value, b""),
        reservation_id_of(other_kind, b""),
    }

    assert len(ids) == 5
    assert reservation_id_of(CLAIM, b"") == (
        "email:0c9b64fef4787f4e70e72154a68de1ad83c335794804e673"
    )


class SeatTaken(DomainEvent, type="seat.taken", category="seat", key="seat_id"):
    seat_id: Id
    number: str


@dataclass(kw_only=True)
class Seat(Aggregate, category="seat"):
    numbers: tuple[str, ...] = ()

    @applies(SeatTaken)
    def _taken(self, event: SeatTaken) -> None:
        self.numbers = (*self.numbers, event.number)

    @override
    def claims(self) -> frozenset[Claim]:
        return frozenset(Claim("seat", number, reason="seat-taken") for number in self.numbers)


class TakeSeats(Command, aggregate=Seat):
    seat_id: Id
    numbers: tuple[str, ...]

    @override
    def decide(self, seat: Seat, /) -> None:
        for number in self.numbers:
            seat.record(SeatTaken(seat_id=self.seat_id, number=number))


def test_an_aggregate_of_one_s_own_claims_any_number_of_values_all_or_none(shop):
    shop.executor.execute(TakeSeats(seat_id="x", numbers=("1", "2")))

    take = TakeSeats(seat_id="y", numbers=("3", "2"))
    assert refusal(lambda: shop.executor.execute(take)) == "seat-taken"
    result = shop.executor.execute(TakeSeats(seat_id="y", numbers=("3", "4")))

    assert [event.payload.number for event in result.events] == ["3", "4"]
    assert shop.log.head() == 8
