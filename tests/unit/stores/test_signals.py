"""Signals and slots: nobody sleeps through a change, and no interrupt leaves anything locked."""

from __future__ import annotations

import ctypes
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from eventcore.stores.signals import LocalSignal, Slots

LONG_SECONDS = 30.0
SOON_SECONDS = 0.01
INTERRUPTS = 2_000


class Interrupt(BaseException):
    """As Ctrl-C: it comes between any two steps."""


class Interrupted:
    """A thread that repeats something, and goes on when it is interrupted."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._over = False
        self.count = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self, nested: int = 3) -> None:
        # An interrupt that comes while another one is caught is caught by the loop outside.
        while not self._over:
            with suppress(Interrupt):
                while not self._over:
                    if nested:
                        self._run(nested - 1)
                    else:
                        self._act()
                        self.count += 1

    def interrupt(self) -> None:
        assert self.thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.thread.ident), ctypes.py_object(Interrupt)
        )

    def end(self) -> None:
        self._over = True
        self.thread.join(LONG_SECONDS)
        assert not self.thread.is_alive()


def interrupt_all(acts: list[Callable[[], object]]) -> None:
    """Interrupt threads that do these, again and again; each of them has to get on."""
    threads = [Interrupted(act) for act in acts]
    chance = random.Random(3)
    for _ in range(INTERRUPTS):
        time.sleep(chance.uniform(0.0, 0.0002))
        chance.choice(threads).interrupt()
    for thread in threads:
        before, deadline = thread.count, time.monotonic() + LONG_SECONDS
        while thread.count == before:
            assert time.monotonic() < deadline, "a thread is kept for ever"
            time.sleep(0.001)
    for thread in threads:
        thread.end()


def test_a_change_after_the_token_ends_the_wait_at_once():
    told = LocalSignal()
    token = told.token()
    told.notify()

    assert told.wait(token, LONG_SECONDS)


@pytest.mark.parametrize("timeout_seconds", [0.0, -1.0, SOON_SECONDS])
def test_without_a_change_the_time_runs_out(timeout_seconds):
    told = LocalSignal()
    told.notify()

    assert not told.wait(told.token(), timeout_seconds)
    assert told._sleepers == []


def test_everybody_who_sleeps_is_woken_and_whoever_comes_later_is_not():
    told = LocalSignal()
    woken: list[bool] = []
    sleepers = [
        threading.Thread(target=lambda: woken.append(told.wait(0, LONG_SECONDS))) for _ in range(5)
    ]
    for sleeper in sleepers:
        sleeper.start()
    while len(told._sleepers) < len(sleepers):
        time.sleep(0.001)

    told.notify()
    for sleeper in sleepers:
        sleeper.join(LONG_SECONDS)

    assert woken == [True] * 5
    assert not told.wait(told.token(), SOON_SECONDS)


def test_closing_ends_every_wait():
    told = LocalSignal()
    woken: list[bool] = []
    sleeper = threading.Thread(target=lambda: woken.append(told.wait(0, LONG_SECONDS)))
    sleeper.start()
    while not told._sleepers:
        time.sleep(0.001)

    told.close()
    told.close()
    sleeper.join(LONG_SECONDS)

    assert told.closed
    assert woken == [True]
    assert told.wait(told.token(), LONG_SECONDS)


def test_interrupted_threads_keep_nobody_from_a_signal():
    told = LocalSignal()

    interrupt_all([told.notify, told.notify, lambda: told.wait(told.token(), SOON_SECONDS)])

    assert told._sleepers == []


@pytest.mark.parametrize("act", [LocalSignal.notify, LocalSignal.close])
def test_what_is_interrupted_at_any_step_is_either_not_told_or_everybody_is_awake(act):
    steps = 0
    while True:
        told = LocalSignal()
        sleeper = threading.Lock()
        sleeper.acquire()
        told._sleepers.append(sleeper)
        before = told.token(), told.closed
        steps += 1
        if not is_interrupted(partial(act, told), steps):
            break
        assert (told.token(), told.closed) == before or not sleeper.locked()
        assert told._lock.acquire(blocking=False)
        told._lock.release()

    assert steps > 5
    assert not sleeper.locked()


def is_interrupted(act: Callable[[], object], step: int) -> bool:
    """Do it in a thread that is interrupted at a step; False if it has not so many."""
    raised: list[bool] = []
    left = step

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal left
        # An interrupt comes behind a call of something written in C, never before it.
        left -= event != "c_call"
        if left == 0:
            raise Interrupt

    def run() -> None:
        sys.setprofile(count)
        try:
            act()
        except Interrupt:
            raised.append(True)
        finally:
            sys.setprofile(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LONG_SECONDS)
    return bool(raised)


def test_interrupted_threads_keep_nobody_from_the_slots():
    slots = Slots(2)

    def use() -> None:
        taken = slots.take(SOON_SECONDS)
        # What was lost in the step before this one is put back by whoever got none.
        if taken or slots._free == 0:
            slots.give_back()

    interrupt_all([use, use, use])

    assert slots._line == deque()


def use_one(slots: Slots) -> None:
    if slots.take(LONG_SECONDS):
        slots.give_back()


def test_a_thread_that_is_interrupted_while_it_waits_loses_no_slot():
    slots = Slots(1)
    for _ in range(30):
        assert slots.take(LONG_SECONDS)
        waiting = Interrupted(partial(use_one, slots))
        while not slots._line:
            time.sleep(0.0005)

        waiting.interrupt()
        slots.give_back()
        waiting.end()

    assert slots.take(0.0)


def test_slots_are_taken_in_the_order_in_which_they_were_asked_for():
    slots = Slots(1)
    assert slots.take(0.0)
    order: list[int] = []

    def use(number: int) -> None:
        assert slots.take(LONG_SECONDS)
        order.append(number)
        slots.give_back()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=use, args=(number,)))
        threads[-1].start()
        while len(slots._line) <= number:
            time.sleep(0.0005)
    slots.give_back()
    assert slots.take(LONG_SECONDS)  # though this thread is the one that runs: it asked last
    for thread in threads:
        thread.join(LONG_SECONDS)

    assert order == [0, 1, 2, 3, 4]


def test_slots_run_out():
    slots = Slots(2)

    assert [slots.take(0.0) for _ in range(3)] == [True, True, False]
    slots.give_back()
    assert slots.take(LONG_SECONDS)
    assert slots.count == 2


def test_a_signal_handler_may_notify_whatever_its_thread_is_doing():
    told = LocalSignal()
    calls = 0

    def handle(*_: object) -> None:
        nonlocal calls
        calls += 1
        told.notify()

    before = signal.signal(signal.SIGALRM, handle)
    timers = signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)
    deadline = time.monotonic() + LONG_SECONDS
    try:
        while calls < INTERRUPTS and time.monotonic() < deadline:
            told.wait(told.token(), SOON_SECONDS)
            told.notify()
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timers)
        signal.signal(signal.SIGALRM, before)

    assert calls >= INTERRUPTS
    assert told._sleepers == []
