"""Broken builds of sources."""

from tests.mutants.mutant import HOUSE, Mutant

_FOLDER = "tests/sources/test_folder.py"
_FOLDER_OF_MANY_FILES = "tests/sources/test_folder_of_many_files.py"
_EVERY_PROGRAM = "tests/cases/test_every_program.py"

SOURCES = (
    Mutant(
        2,
        "impossible-row",
        "one row that no journal can hold costs the others nothing",
        "                except StackUnreadableError as error:  # one row",
        "                except ZeroDivisionError as error:  # one row",
        ("tests/sources/test_pending.py",),
    ),
    Mutant(
        2,
        "hint-wakes",
        "a file event ends the wait for the next scan",
        "            self._paths.add(path)\n        self._woken.set()",
        "            self._paths.add(path)",
        (f"{_FOLDER}::test_a_hint_from_another_thread_ends_the_wait",),
    ),
    Mutant(
        5,
        "blank-planes",
        "planes of nothing but zeros are no data",
        'and evidence.blank_planes and files.blank_planes == "incomplete"',
        'and evidence.blank_planes and files.blank_planes == "never"',
        ("tests/sources/test_completeness_of_files.py",),
    ),
    Mutant(
        5,
        "dropped-frame",
        "a dropped frame among the planes of a camera is no data",
        "            found.zeros_are_data and (planes.passed or not never_begun)",
        "            True",
        ("tests/sources/test_completeness_of_files.py",),
    ),
    Mutant(
        5,
        "stopped-reserved",
        "planes at the end of a reserved file that was left half full are no data",
        "(planes.passed or not never_begun)",
        "(planes.passed or True)",
        ("tests/sources/test_completeness_of_files.py",),
    ),
    Mutant(
        5,
        "undeclared-quiet",
        "a file that does not declare its planes must stay quiet",
        "if certain or quiet_s >= needed_s:",
        "if certain or quiet_s >= 0:",
        ("tests/sources/test_completeness_of_files.py",),
    ),
    Mutant(
        5,
        "end-held",
        "an end marker counts once it has held for two seconds",
        "END_HELD_S = 2.0",
        "END_HELD_S = 0.0",
        ("tests/sources/test_run_clock.py",),
    ),
    Mutant(
        5,
        "stalled-visibly",
        "what stops early becomes incomplete, visibly",
        "    if quiet_s >= watch.stall_s or (given_up and passed):",
        "    if quiet_s < 0:",
        ("tests/sources/test_completeness_of_files.py",),
    ),
    Mutant(
        6,
        "findings-kept",
        "what the journal's disk refuses is kept in memory",
        "        impossible: dict[StackKey, StackUnreadableError] = {}\n"
        "        with self._journal.batch():\n",
        "        impossible: dict[StackKey, StackUnreadableError] = {}\n"
        "        self._findings = dict[StackKey, Finding]()\n"
        "        with self._journal.batch():\n",
        ("tests/sources/test_pending.py::test_what_the_disk_refuses_is_kept_for_the_next_time",),
    ),
    Mutant(
        6,
        "look-budget",
        "looking at what is undecided has a budget",
        "self.next_look = now + _REST_PER_LOOK * worked",
        "self.next_look = now",
        (f"{_FOLDER_OF_MANY_FILES}::test_looking_at_what_is_undecided_has_a_budget",),
    ),
    Mutant(
        2,
        "same-tick",
        "a name given within one tick of the file system's clock is found",
        "before.again or now - before.first_seen < _TICK_S",
        "True",
        (
            f"{_FOLDER_OF_MANY_FILES}::test_a_name_given_within_one_tick_of_the_clock_of_files_is_found",
        ),
    ),
    Mutant(
        2,
        "nothing-usable",
        "an acquisition of which nothing, or not all, can be read is never done with in silence",
        "self._unusable.undecided = not state.stacks or bool(state.unusable)",
        "self._unusable.undecided = False",
        ("tests/sources/test_damaged_acquisitions.py",),
    ),
    Mutant(
        5,
        "slow-planes",
        "the dates of planes say how long a pause is no end",
        "self._longest_gap_s = min(pause_s, self._watch.stall_s)",
        "pass",
        (
            f"{_EVERY_PROGRAM}::test_planes_that_came_slowly_before_anybody_looked_tell_how_long_to_wait",
        ),
    ),
    Mutant(
        HOUSE,
        "silent-files",
        "what is not looked at is counted",
        "self.passed_by.listed(folder, passed_by, links, images=images)",
        "pass",
        (f"{_EVERY_PROGRAM}::test_files_that_nobody_reads_are_counted_by_kind_with_what_to_do",),
    ),
    Mutant(
        5,
        "listed-size",
        "sizes are those of the file, not those that NTFS lists while it is open",
        "self.seen(path, path.lstat())",
        "self.seen(path, entry.stat(follow_symlinks=False))",
        ("tests/sources/test_stale_listing.py",),
    ),
    Mutant(
        2,
        "spread-late",
        "a file of a set that comes late has the whole looked at again",
        "            self._look_again(evidence.path)\n",
        "            pass\n",
        ("tests/formats/test_ome_set.py::test_a_set_that_goes_on_after_it_was_given_up",),
    ),
)
