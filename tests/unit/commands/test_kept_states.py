"""What the repository keeps of an aggregate goes on with what is stored, and only with that."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from eventcore.aggregates import Aggregate, Order, applies
from eventcore.commands import AddItem, Repository
from eventcore.errors import ConcurrencyConflictError
from eventcore.events import Codec, DomainEvent, EventRegistry, Id, PayloadModel
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing.log_cases import run_threads
from tests.unit.commands.shop import PRICE, Shop, log_of

THREADS = 4
COMMANDS_EACH = 25

registry = EventRegistry()


class Note(PayloadModel):
    words: dict[str, int]


class NoteTaken(
    DomainEvent, type="diary.note_taken", category="diary", key="diary_id", registry=registry
):
    diary_id: Id
    note: Note


class DiaryBegun(
    DomainEvent, type="diary.begun", category="diary", key="diary_id", registry=registry
):
    diary_id: Id


@dataclass(kw_only=True)
class Diary(Aggregate, category="diary", begins_with=DiaryBegun):
    notes: list[Note] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)

    @applies(DiaryBegun)
    def _begun(self, event: DiaryBegun) -> None:
        pass

    @applies(NoteTaken)
    def _note_taken(self, event: NoteTaken) -> None:
        self.notes.append(event.note)
        self.pages.append(self.version)

    def begin(self) -> None:
        self.record(DiaryBegun(diary_id=self.id))

    def take(self, **words: int) -> None:
        self.record(NoteTaken(diary_id=self.id, note=Note(words=words)))


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    made = log_of(request.param, tmp_path)
    yield made
    made.close()


def fresh(shop: Shop, order_id: str = "o-1") -> Order:
    """The order as the log has it, whatever is kept."""
    return Repository(shop.log, cached_max=0).get(Order, order_id)


def test_a_large_state_is_not_copied_to_be_saved(log, monkeypatch):
    shop = Shop(log)
    shop.create_order()
    order = shop.repository.get(Order, "o-1")

    def copy(_self):
        raise AssertionError("the state was copied")

    with monkeypatch.context() as patched:
        patched.setattr(Order, "copy", copy)
        for number in range(3):
            order.add_item(product_id=f"p-{number}", quantity=1, price=PRICE)
            shop.executor.save(order)

    assert shop.repository.get(Order, "o-1") == fresh(shop) == order


def test_what_was_dropped_meanwhile_is_kept_again(log):
    shop = Shop(log, cached_max=1)
    shop.create_order("o-1")
    order = shop.repository.get(Order, "o-1")
    shop.create_order("o-2")

    order.add_item(product_id="p", quantity=1, price=PRICE)
    shop.executor.save(order)

    assert list(shop.repository._cache) == ["order-o-1"]
    assert shop.repository.get(Order, "o-1") == fresh(shop) == order


def test_a_late_note_of_what_was_stored_does_not_mix_histories(log):
    shop, other = Shop(log), Shop(log)
    shop.create_order()
    order = shop.repository.get(Order, "o-1")
    other.ids = iter(range(100, 200))
    other.executor.execute(AddItem(order_id="o-1", product_id="theirs", quantity=1, price=PRICE))
    shop.repository.get(Order, "o-1")  # what is kept is ahead of the order in hand

    order.add_item(product_id="ours", quantity=1, price=PRICE)
    with pytest.raises(ConcurrencyConflictError):
        shop.executor.save(order)

    assert shop.repository.get(Order, "o-1") == fresh(shop)


def test_a_state_of_a_history_that_was_set_back_is_not_gone_on_with():
    first, second = MemoryLog(Codec(registry)), MemoryLog(Codec(registry))
    shop, other = Shop(first), Shop(second)
    other.ids = iter(range(100, 200))
    for place, word in ((shop, "kept"), (other, "there")):
        diary = Diary(id="d")
        diary.begin()
        diary.take(**{word: 1})
        place.executor.save(diary)
    # What a restored backup looks like: as long, and not the same.
    shop.log = shop.repository._log = shop.executor._log = second

    diary = shop.repository.get(Diary, "d", version=2)
    diary.take(last=1)
    shop.ids = iter(range(300, 400))
    shop.executor.save(diary)

    assert [note.words for note in shop.repository.get(Diary, "d").notes] == [
        {"there": 1},
        {"last": 1},
    ]


def test_an_applier_sees_the_same_version_however_its_event_comes():
    shop = Shop(MemoryLog(Codec(registry)))
    diary = Diary(id="d")
    diary.begin()
    for word in ("one", "two", "three"):
        diary.take(**{word: 1})
    shop.executor.save(diary)

    kept, read = shop.repository.get(Diary, "d"), Repository(shop.log, cached_max=0).get(Diary, "d")

    assert diary.pages == kept.pages == read.pages == [1, 2, 3]


def test_a_signal_handler_may_read_what_its_thread_is_reading(monkeypatch):
    shop = Shop()
    shop.create_order()
    copy = Order.copy
    seen: list[Order | None] = []

    def interrupted(self):
        if not seen:
            seen.append(None)
            seen.append(shop.repository.get(Order, "o-1"))
        return copy(self)

    monkeypatch.setattr(Order, "copy", interrupted)

    assert shop.repository.get(Order, "o-1") == seen[1]


def with_notes_to_save() -> tuple[Shop, Diary]:
    shop = Shop(MemoryLog(Codec(registry)))
    diary = Diary(id="d")
    diary.begin()
    diary.take(one=1)
    shop.executor.save(diary)
    diary.take(two=2)
    diary.take(three=3)
    return shop, diary


def test_what_is_kept_shares_nothing_with_an_aggregate_that_was_saved():
    shop, diary = with_notes_to_save()
    shop.executor.save(diary)

    for note in diary.notes:
        note.words["changed"] = 1

    kept = shop.repository.get(Diary, "d")
    assert [note.words for note in kept.notes] == [{"one": 1}, {"two": 2}, {"three": 3}]


def failing_fold(error: BaseException):
    """A fold that breaks off behind the first event."""
    fold = Diary.fold

    def broken_off(self, events):
        fold(self, list(events)[:1])
        raise error

    return broken_off


def test_a_state_that_cannot_go_on_is_read_anew_and_what_is_stored_is_stored(monkeypatch):
    shop, diary = with_notes_to_save()

    with monkeypatch.context() as patched:
        patched.setattr(Diary, "fold", failing_fold(ValueError("not always the same")))
        result = shop.executor.save(diary)

    assert result.version == 4
    assert diary.pending == []
    kept = shop.repository.get(Diary, "d")
    assert (kept.version, kept.notes) == (4, diary.notes)


def test_an_interrupt_spoils_what_is_kept_and_nothing_else(monkeypatch):
    shop, diary = with_notes_to_save()

    with monkeypatch.context() as patched:
        patched.setattr(Diary, "fold", failing_fold(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            shop.executor.save(diary)

    kept = shop.repository.get(Diary, "d")
    assert (kept.version, kept.notes) == (4, diary.notes)


def test_threads_that_load_and_save_one_stream_see_whole_states(log):
    shop = Shop(log, attempts_max=200)
    shop.create_order()
    numbers = iter(range(10, 100_000))
    shop.ids = iter(lambda: next(numbers), None)
    writing = [None] * THREADS

    def add() -> None:
        for _ in range(COMMANDS_EACH):
            shop.executor.execute(AddItem(order_id="o-1", product_id="p", quantity=1, price=PRICE))
        writing.pop()

    def look() -> None:
        while writing:
            order = shop.repository.get(Order, "o-1")
            assert len(order.items) == order.version

    run_threads(*[add] * THREADS, look, look)

    order = shop.repository.get(Order, "o-1")
    assert order == fresh(shop)
    assert order.version == 1 + THREADS * COMMANDS_EACH
