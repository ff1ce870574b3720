"""Broken builds of the journal."""

from tests.mutants.mutant import HOUSE, Mutant

_JOURNAL = "tests/journal/test_journal.py"
_JOURNAL_AND_PROCESSES = "tests/journal/test_journal_and_processes.py"
_JOURNAL_IN_TROUBLE = "tests/journal/test_journal_in_trouble.py"
_RENAMED_RUNS = "tests/cases/test_renamed_runs.py"
_HOUSE = "tests/test_house.py"

JOURNAL = (
    Mutant(
        2,
        "lease-recovery",
        "a stack leased by a process that died waits again",
        "\"UPDATE entry SET state = 'waiting', owner = NULL, lease_until = NULL \"\n"
        "                \"WHERE state = 'running'\"",
        "\"UPDATE entry SET state = 'waiting', owner = NULL, lease_until = NULL \"\n"
        "                \"WHERE state = 'lost'\"",
        (f"{_JOURNAL_AND_PROCESSES}::test_a_killed_process_leaves_the_folder_and_its_work",),
    ),
    Mutant(
        2,
        "durable-journal",
        "the journal waits for the disk",
        "PRAGMA synchronous=FULL",
        "PRAGMA synchronous=NORMAL",
        (f"{_JOURNAL_IN_TROUBLE}::test_it_is_durable",),
    ),
    Mutant(
        2,
        "replaced-meanwhile",
        "an outcome counts only for the raw file that it is about",
        "AND size = :size AND mtime_ns = :mtime_ns AND state = 'running'\"",
        "AND :size = :size AND :mtime_ns = :mtime_ns AND state = 'running'\"",
        (f"{_JOURNAL}::test_a_verdict_about_the_old_file_does_not_end_the_claim_on_the_new",),
    ),
    Mutant(
        2,
        "given-back-unchanged",
        "what is given back keeps its account of attempts",
        "attempts = entry.attempts if counts else entry.attempts - 1",
        "attempts = entry.attempts",
        (f"{_JOURNAL}::test_given_back_it_keeps_turn_and_account",),
    ),
    Mutant(
        2,
        "migration",
        "a journal of schema 1 keeps its rows",
        "if found == 1:\n            _from_1(db)",
        "if found == 1:\n            db.execute('DROP TABLE entry')",
        ("tests/journal/test_schema.py::test_every_row_of_every_recipe_is_kept",),
    ),
    Mutant(
        3,
        "one-process",
        "one process works on a folder",
        "        lock.acquire()\n    except Timeout:\n        raise FolderBusyError(",
        "        pass\n    except Timeout:\n        raise FolderBusyError(",
        (f"{_JOURNAL_AND_PROCESSES}::test_one_process_per_folder",),
    ),
    Mutant(
        3,
        "folder-above",
        "a folder above a watched one counts",
        "        if lock_is_held(path) and root_of(path)[1]:",
        "        if False:",
        (f"{_JOURNAL_AND_PROCESSES}::test_a_folder_above_or_inside_a_watched_one_is_busy",),
    ),
    Mutant(
        7,
        "set-aside",
        "what kills again and again is set aside",
        "\"'tries it again' WHERE state = 'running' AND attempts >= ?\",",
        "\"'tries it again' WHERE state = 'lost' AND attempts >= ?\",",
        (f"{_JOURNAL_AND_PROCESSES}::test_what_kills_again_and_again_is_set_aside_once",),
    ),
    Mutant(
        HOUSE,
        "journal-in-the-making",
        "a journal that is just being made is empty, not damaged",
        "                if found < schema.VERSION:\n                    db = self._db = _copy",
        "                if 0 < found < schema.VERSION:\n                    db = self._db = _copy",
        ("tests/journal/test_journal_in_trouble.py",),
    ),
    Mutant(
        HOUSE,
        "kills-are-remembered",
        "that a watch was killed is told after the next one has begun",
        "if bad := before.bad_end(now):",
        "if bad := None:",
        ("tests/page/test_night.py::test_a_kill_is_told_after_the_next_start_too",),
    ),
    Mutant(
        HOUSE,
        "brightness-is-a-class-of-its-own",
        "what is doubtful for measuring brightness only does not count as doubtful",
        "self.state is State.DONE and self.reason.startswith(FOR_BRIGHTNESS)",
        "False",
        ("tests/alerts/test_rules.py", "tests/page/test_night.py"),
    ),
    Mutant(
        2,
        "journal-on-share",
        "a journal lies on a disk of this computer",
        "if folder is not None and is_network_drive(folder):",
        "if False:",
        ("tests/journal/test_location.py",),
    ),
    Mutant(
        HOUSE,
        "layers",
        "no package imports one above it",
        "from live_restore.journal.location import other_watcher\n",
        "from live_restore.journal.location import other_watcher\n"
        "from live_restore.engine.backoff import Backoff as Backoff\n",
        (f"{_HOUSE}::test_no_package_imports_one_above_it",),
    ),
    Mutant(
        6,
        "wish-of-before",
        "a daemon does not do what was asked of the one before it",
        'if int(match["at"]) >= since_ns:',
        "if True:",
        ("tests/page/test_page_do.py::test_what_is_asked_while_the_daemon_still_starts_is_heard",),
    ),
    Mutant(
        HOUSE,
        "killed-is-told",
        "a run that was killed is not told as one that ended",
        '_ENDED: "", _WHY: "", _PAUSED: "no"}',
        '_PAUSED: "no"}',
        ("tests/page/test_night.py",),
    ),
    Mutant(
        HOUSE,
        "cut-off-for-ever-arriving",
        "what was still arriving when the watch ended is said to be arriving",
        "        return self.state is State.ARRIVING and not watched\n",
        "        return False\n",
        ("tests/page/test_night.py::test_cut_off_and_saturated_are_said_in_the_morning",),
    ),
    Mutant(
        HOUSE,
        "copy-counted",
        "a copy beside the first is counted for itself",
        "return done and _is_gone(Path(self.result)) and _is_gone(root / self.key.acquisition)",
        "return done",
        (f"{_RENAMED_RUNS}::test_a_copy_beside_the_first_is_counted_for_itself",),
    ),
    Mutant(
        2,
        "stacks-of-an-acquisition",
        "stacks of an acquisition outlast a moment in which it cannot be read",
        "    AND NOT EXISTS (SELECT 1 FROM acquisition AS a WHERE a.acquisition = :acquisition)\n",
        "",
        (f"{_JOURNAL}::test_what_is_recorded_of_a_whole_acquisition_costs_its_stacks_nothing",),
    ),
    Mutant(
        HOUSE,
        "journal-only-looked-at",
        "to look at a journal makes no file beside it",
        'at_rest = not Path(f"{path}-wal").exists()',
        "at_rest = False",
        (f"{_JOURNAL_AND_PROCESSES}::test_to_look_makes_no_file",),
    ),
)
