"""Broken builds of hooks."""

from tests.mutants.mutant import Mutant

HOOKS = (
    Mutant(
        10,
        "killed-at-last",
        "a child that does not listen is not left behind",
        "        child.kill()\n        with suppress(subprocess.TimeoutExpired):\n",
        "        with suppress(subprocess.TimeoutExpired):\n",
        ("tests/hooks/test_child.py::test_the_time_limit_ends_a_child_that_does_not_listen",),
    ),
    Mutant(
        1,
        "hook-gives-way",
        "what restores beside an acquisition script has the lowest priority",
        "psutil.Process(process.pid).nice(max(_NICE, os.nice(0)))",
        "pass",
        ("tests/hooks/test_child.py::test_a_restorer_lets_go_when_its_leash_is_dropped",),
    ),
    Mutant(
        1,
        "hook-only-queues",
        "what the acquisition calls only queues, and raises nothing",
        "self._worker.do(lambda: self._begin_dataset(dataset))",
        "self._begin_dataset(dataset)",
        ("tests/hooks/test_misuse.py::test_nothing_leaves_a_callback",),
    ),
    Mutant(
        2,
        "window-engine-anew",
        "the engine that is chosen is asked, at every look",
        "store = self._studio.get_acquisition_engine().get_acquisition_datastore()",
        "self._engine = getattr(self, '_engine', self._studio.get_acquisition_engine())\n"
        "        store = self._engine.get_acquisition_datastore()",
        (
            "tests/hooks/test_micromanager_engines.py::"
            "test_an_engine_chosen_while_connected_is_seen",
        ),
    ),
    Mutant(
        2,
        "window-since-the-daemon",
        "a run that nobody saw is restored, if it was not over when the daemon began",
        "return (began or 0.0) >= self._since or last_image_at(path) >= self._since",
        "return False",
        (
            "tests/hooks/test_micromanager_engines.py::"
            "test_a_run_counts_by_when_its_last_image_was_written",
        ),
    ),
    Mutant(
        5,
        "left-out-named",
        '"restored" is never said of a run of which a stack was left out',
        'line = f"{self.restored} stack(s) done, not restored: {named}" if named else "restored"',
        'line = "restored"',
        ("tests/hooks/test_account.py",),
    ),
)
