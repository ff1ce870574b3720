"""What is on its way to workers is bounded, and a stack larger than the bound is not stuck."""

from __future__ import annotations

import threading

from live_restore.cluster.ahead import Ahead


def test_no_more_bytes_are_on_their_way_than_may_be() -> None:
    ahead = Ahead(100)
    with ahead.sending(60, lambda: False) as first:
        assert first
        with ahead.sending(40, lambda: False) as second:
            assert second
            with ahead.sending(1, lambda: True) as third:
                assert not third, "it waited until it was cancelled"
            assert ahead.bytes == 100
    assert ahead.bytes == 0


def test_a_stack_larger_than_that_goes_alone() -> None:
    ahead = Ahead(100)
    with ahead.sending(500, lambda: False) as admitted:
        assert admitted
        with ahead.sending(1, lambda: True) as other:
            assert not other


def test_who_waits_goes_on_when_there_is_room() -> None:
    ahead = Ahead(100)
    went = threading.Event()

    def second() -> None:
        with ahead.sending(60, lambda: False):
            went.set()

    with ahead.sending(60, lambda: False):
        thread = threading.Thread(target=second)
        thread.start()
        assert not went.wait(0.3)
    thread.join(10)
    assert went.is_set()


def test_who_is_asked_whether_to_stop_may_take_his_time() -> None:
    """The gate before a tile waits for planes; nobody else may wait for it."""
    ahead = Ahead(100)
    asked, go = threading.Event(), threading.Event()

    def slow() -> bool:
        asked.set()
        return go.wait(10)

    def second() -> None:
        with ahead.sending(60, slow):
            pass

    with ahead.sending(60, lambda: False):
        thread = threading.Thread(target=second)
        thread.start()
        assert asked.wait(10)
    assert ahead.bytes == 0, "the first is gone although the second is still being asked"
    go.set()
    thread.join(10)
