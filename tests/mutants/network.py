"""Broken builds of several computers and archives."""

from tests.mutants.mutant import HOUSE, Mutant

NETWORK = (
    Mutant(
        9,
        "wrong-numbers-elsewhere",
        "a worker that computes wrong numbers is set aside",
        "if why := wrong_numbers(answer.proof, self._proof, device):",
        "if why := False:",
        (
            "tests/cluster/test_restoring.py::test_a_worker_with_wrong_numbers_is_set_aside_and_not_the_stack",
        ),
    ),
    Mutant(
        9,
        "wrong-numbers-published",
        "a worker that computes wrong numbers publishes none of them",
        "            if wrong:\n                raise _SickError(wrong)",
        "            if False:\n                raise _SickError(wrong)",
        ("tests/archive/test_archive.py::test_a_worker_with_wrong_numbers_leaves_no_result",),
    ),
    Mutant(
        7,
        "worker-killer",
        "a stack that kills its workers is set aside",
        "if entry.attempts < self._max_attempts:\n            reason",
        "if True:\n            reason",
        (
            "tests/archive/test_archive.py::test_a_stack_that_kills_its_workers_is_set_aside_and_the_others_are_restored",
        ),
    ),
    Mutant(
        HOUSE,
        "out-of-the-archive",
        "a worker is led nowhere but into the archive's folder",
        'if path.is_absolute() or ".." in path.parts or Path(path).drive:',
        "if False:",
        ("tests/archive/test_tasks.py",),
    ),
)
