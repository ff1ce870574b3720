"""Workers: as many stacks at once as there are sets of warm models, and no more."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from live_restore.engine.workers import WorkerPool
from live_restore.inference.model_set import ModelSet


def pool(*names: str) -> WorkerPool:
    return WorkerPool(cast("Any", names))


def test_each_worker_has_models_of_its_own() -> None:
    workers = pool("one", "two")
    both = threading.Barrier(2, timeout=5)
    used: list[str] = []

    def task(models: ModelSet) -> str:
        both.wait()
        used.append(str(models))
        return str(models)

    done = [workers.submit(task), workers.submit(task)]
    assert {each.result(5) for each in done} == {"one", "two"} == set(used)
    workers.close()


def test_a_third_stack_waits_for_a_free_worker() -> None:
    workers = pool("one")
    go = threading.Event()
    first = workers.submit(lambda _: go.wait(5))
    submitted = threading.Event()

    def submit() -> None:
        workers.submit(lambda _: None)
        submitted.set()

    submitter = threading.Thread(target=submit)
    submitter.start()
    assert not submitted.wait(0.1)
    go.set()
    assert submitted.wait(5)
    assert first.result(5)
    submitter.join(5)
    workers.close()


def test_a_worker_that_failed_is_free_again() -> None:
    workers = pool("one")

    def fail(_: ModelSet) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        workers.submit(fail).result(5)
    assert workers.submit(lambda models: models).result(5) == cast("Any", "one")
    workers.close()


def test_what_is_reserved_is_given_back_when_the_last_stack_is_done() -> None:
    workers = pool("one")
    assert workers.reserve(0)
    assert not workers.reserve(0), "only one piece of work per worker"
    go = threading.Event()
    last = workers.submit(lambda _: go.wait(5))
    workers.release_after(last)
    assert not workers.reserve(0)
    go.set()
    last.result(5)
    assert workers.reserve(5)
    workers.release_after(None)
    assert workers.reserve(0)
    workers.close()
