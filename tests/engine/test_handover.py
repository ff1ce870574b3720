"""Queues between stages: in order, bounded, and never a hang when a stage is gone."""

from __future__ import annotations

import threading
import time

from live_restore.engine.handover import Handover
from live_restore.engine.in_hand import InHand


def test_items_arrive_in_order_and_then_it_ends() -> None:
    handover: Handover[int] = Handover(2, lambda: False)
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.extend(handover))
    taker.start()
    for number in range(10):
        handover.put(number)
    handover.close()
    taker.join(5)
    assert taken == list(range(10))


def test_no_more_wait_than_were_agreed() -> None:
    handover: Handover[int] = Handover(1, lambda: False)
    put: list[int] = []

    def fill() -> None:
        for number in range(3):
            handover.put(number)
            put.append(number)

    filler = threading.Thread(target=fill)
    filler.start()
    time.sleep(0.1)
    assert put == [0]
    items = iter(handover)
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    filler.join(5)
    assert not filler.is_alive()


def test_nobody_waits_for_a_stage_that_has_crashed() -> None:
    crashed = threading.Event()
    handover: Handover[int] = Handover(1, crashed.is_set)
    handover.put(1)
    crashed.set()
    handover.put(2)
    handover.close()
    assert list(handover) == []


def test_work_in_hand_is_counted() -> None:
    in_hand = InHand()
    assert not in_hand
    assert in_hand.begin(), "alone"
    assert not in_hand.begin(), "beside another"
    assert not in_hand.end()
    assert in_hand
    waited = threading.Thread(target=in_hand.wait_until_none, args=(lambda: False,))
    waited.start()
    assert in_hand.end(), "nothing is left"
    waited.join(5)
    assert not waited.is_alive()


def test_a_stop_ends_the_wait_for_work_in_hand() -> None:
    in_hand = InHand()
    in_hand.begin()
    in_hand.wait_until_none(lambda: True)
