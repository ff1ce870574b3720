"""Broken builds: for each mechanism of ``docs/explanation/promises.md`` one that lacks it.

``mutations.py`` makes them, one at a time, and sees that a test fails.
"""

from __future__ import annotations

from dataclasses import dataclass

HOUSE = 0
"""Stands for a promise where the mechanism keeps none of the ten, but a rule of the house."""


@dataclass(frozen=True)
class Mutant:
    """One mechanism, and how to break it.

    Parameters
    ----------
    promise
        Its number in ``docs/explanation/promises.md``, or ``HOUSE``.
    name
        For the command line.
    mechanism
        What is lost.
    old, new
        The text to replace, which is unique in the package, and by what.
    tests
        Files or node ids, of which at least one must fail; a few seconds together.
    """

    promise: int
    name: str
    mechanism: str
    old: str
    new: str
    tests: tuple[str, ...]


_JOURNAL = "tests/journal/test_journal.py"
_STACKS_OF_FILES = "tests/cases/test_stacks_of_files.py"
_GROWING = "tests/cases/test_growing_files.py"
_GROWING_RESULT = "tests/outputs/test_growing_ome_tiff.py"
_PIPELINE = "tests/engine/test_pipeline.py"
_PUBLISH = "tests/files/test_publish.py"
_OME_TIFF = "tests/outputs/test_ome_tiff_output.py"
_FOLDER = "tests/sources/test_folder.py"
_ACQUISITIONS = "tests/sources/test_acquisitions.py"
_TIFF = "tests/formats/test_tiff.py"
_DEVICES = "tests/inference/test_device_choice.py"
_DISK_FULL = "tests/faults/test_disk_full.py"
_HOUSE = "tests/test_house.py"

MUTANTS = (
    Mutant(
        1,
        "raw-read-only",
        "raw files are opened read-only",
        "flags = os.O_RDONLY | _NO_WAIT",
        "flags = os.O_RDWR | _NO_WAIT",
        ("tests/formats/test_compliance.py::TestTiff",),
    ),
    Mutant(
        1,
        "hidden-temporary",
        "temporary files are hidden",
        'name = f".{final.name[:30]}.{_host()}',
        'name = f"{final.name[:30]}.{_host()}',
        (f"{_PUBLISH}::test_it_appears_whole",),
    ),
    Mutant(
        1,
        "room-for-acquisition",
        "no work starts where less than output.min_free_gb is free",
        "if free < self._min_bytes:",
        "if free < 0:",
        (f"{_DISK_FULL}::test_waits_grow_to_ten_seconds",),
    ),
    Mutant(
        1,
        "give-way",
        "processes run below normal priority",
        "a lower priority meant it.\n            process.nice(max(_NICE, process.nice()))",
        "a lower priority meant it.\n            pass",
        ("tests/engine/test_priority.py",),
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
        "lease-recovery",
        "a stack leased by a process that died waits again",
        "\"UPDATE entry SET state = 'waiting', owner = NULL, lease_until = NULL \"\n"
        "                \"WHERE state = 'running'\"",
        "\"UPDATE entry SET state = 'waiting', owner = NULL, lease_until = NULL \"\n"
        "                \"WHERE state = 'lost'\"",
        (f"{_JOURNAL}::test_a_killed_process_leaves_the_folder_and_its_work",),
    ),
    Mutant(
        2,
        "durable-journal",
        "the journal waits for the disk",
        "PRAGMA synchronous=FULL",
        "PRAGMA synchronous=NORMAL",
        (f"{_JOURNAL}::test_it_is_durable",),
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
        2,
        "date-in-range",
        "a file of any date can be recorded",
        "return cls.in_range(status.st_size, status.st_mtime_ns)",
        "return cls(status.st_size, status.st_mtime_ns)",
        ("tests/test_stack.py::test_a_file_of_any_date_is_found_and_stays_known",),
    ),
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
        "runtime-retried",
        "a stack on which the runtime failed is tried again",
        "isinstance(error, RuntimeFailureError) and entry.attempts < self._max_attempts",
        "isinstance(error, RuntimeFailureError) and entry.attempts < 0",
        (f"{_PIPELINE}::test_a_runtime_that_fails_for_a_while_costs_no_stack",),
    ),
    Mutant(
        2,
        "device-lost",
        "a device that cannot give the known answer any more is replaced",
        "        except FAILURES:\n            return True\n",
        "        except FAILURES:\n            return False\n",
        (f"{_DEVICES}::test_a_device_that_is_lost_is_told_and_the_next_one_takes_over",),
    ),
    Mutant(
        2,
        "folder-gone",
        "no result is written where the raw file's folder is gone",
        "if self.identity is None or _identity(self.folder) != self.identity:",
        "if self.identity is None:",
        (
            f"{_PIPELINE}::test_the_watched_folder_may_go",
            f"{_PIPELINE}::test_a_share_that_goes_while_a_stack_is_restored",
        ),
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
        3,
        "recipe-in-token",
        "the token of a result holds its recipe",
        'os.fsencode(where) + b"\\0" + recipe.encode()',
        "os.fsencode(where)",
        (f"{_OME_TIFF}::test_another_recipe_takes_another_name",),
    ),
    Mutant(
        3,
        "name-of-its-own",
        "another model or setting gets another name",
        'own = f"{name}.{model_name}-{token[:8]}"',
        "own = name",
        (f"{_OME_TIFF}::test_another_recipe_takes_another_name",),
    ),
    Mutant(
        3,
        "weights-in-recipe",
        "a recipe holds which weights restore",
        "(rule.channels, None if restorer is None else restorer.model.digest)",
        "(rule.channels, None if restorer is None else restorer.model.card.name)",
        (
            "tests/inference/test_model_set.py::test_other_weights_are_another_recipe_whatever_they_are_called",
        ),
    ),
    Mutant(
        3,
        "not-made-again",
        "a result that is there and current is not made again",
        "return bool(same) and result_path.taken",
        "return False",
        (f"{_OME_TIFF}::test_the_same_again_takes_the_same_name",),
    ),
    Mutant(
        3,
        "same-raw-bytes",
        "a result counts for the raw bytes that it was made from",
        '(source["size"], source["mtime_ns"]) == tuple(file_stacks.fingerprint)',
        'source["size"] is not None',
        (f"{_OME_TIFF}::test_a_changed_raw_file_is_not_current",),
    ),
    Mutant(
        3,
        "one-process",
        "one process works on a folder",
        "        lock.acquire()\n    except Timeout:\n        raise FolderBusyError(",
        "        pass\n    except Timeout:\n        raise FolderBusyError(",
        (f"{_JOURNAL}::test_one_process_per_folder",),
    ),
    Mutant(
        3,
        "folder-above",
        "a folder above a watched one counts",
        "        if lock_is_held(path) and root_of(path)[1]:",
        "        if False:",
        (f"{_JOURNAL}::test_a_folder_above_or_inside_a_watched_one_is_busy",),
    ),
    Mutant(
        4,
        "synced",
        "the content is safe before its name is given",
        "            disk.current.sync(temporary)\n",
        "",
        (f"{_PUBLISH}::test_order_sync_then_check_then_replace_then_sync_the_folder",),
    ),
    Mutant(
        4,
        "read-back",
        "what was written is read back before it gets its name",
        "            if check is not None:\n                check(temporary)\n",
        "",
        (f"{_PUBLISH}::test_order_sync_then_check_then_replace_then_sync_the_folder",),
    ),
    Mutant(
        4,
        "renamed",
        "a final name appears at once, whole",
        "            disk.current.replace(temporary, final)\n            disk.current.sync_folder(",
        "            shutil.copyfile(temporary, final)\n            disk.current.sync_folder(",
        (
            f"{_PUBLISH}::test_order_sync_then_check_then_replace_then_sync_the_folder",
            f"{_PUBLISH}::test_a_failure_at_any_moment",
        ),
    ),
    Mutant(
        4,
        "folder-synced",
        "a name is safe before the next one that rests on it",
        "final)\n            disk.current.sync_folder(final.parent)\n    finally",
        "final)\n    finally",
        (f"{_PUBLISH}::test_order_sync_then_check_then_replace_then_sync_the_folder",),
    ),
    Mutant(
        4,
        "folders-synced",
        "a new folder is safe before what is in it",
        "        disk.current.sync_folder(made.parent)",
        "        pass",
        ("tests/faults/test_power_loss.py::test_folders_are_safe_before_what_is_in_them",),
    ),
    Mutant(
        4,
        "old-report-first",
        "an earlier report is removed before the newer image is published",
        "            remove_for_good(self._result_path.report)",
        "            pass",
        (f"{_OME_TIFF}::test_an_old_report_never_stands_beside_a_new_image",),
    ),
    Mutant(
        4,
        "report-last",
        "the report appears after its image",
        "        publishing_s = time.perf_counter() - began\n        return self._report",
        "            publishing_s = time.perf_counter() - began\n            return self._report",
        ("tests/outputs/test_compliance.py::TestOmeTiff",),
    ),
    Mutant(
        4,
        "leftovers",
        "what a killed process leaves is removed by the next one",
        "            for leftover in remove_leftovers(folder):",
        "            for leftover in ():",
        (f"{_PIPELINE}::test_leftovers_of_a_killed_process_are_removed",),
    ),
    Mutant(
        5,
        "planes-present",
        "a TIFF is complete when its directories and their pixels are there",
        "        if self.missing or self.damage:\n            return Arriving(",
        "        if self.damage:\n            return Arriving(",
        (f"{_TIFF}::test_a_cut_file_is_never_complete",),
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
        "last-plane-open",
        "the last plane with data of a reserved file may still be being filled",
        "last_is_open=tail or bool(blank),",
        "last_is_open=False,",
        (f"{_GROWING}::test_the_last_plane_of_a_reserved_file_is_waited_for",),
    ),
    Mutant(
        4,
        "growing-synced",
        "what a growing result leads to is on the disk before it is led to",
        "        self._tiff.link_planes()\n        disk.current.sync(image)",
        "        self._tiff.link_planes()",
        (f"{_GROWING_RESULT}::test_a_kill_or_a_power_failure_at_any_write_leaves_whole_stacks",),
    ),
    Mutant(
        4,
        "growing-read-back",
        "what is added to a growing result is read back before it is led to",
        "        self._tiff.check(image)\n",
        "",
        (f"{_GROWING_RESULT}::test_what_does_not_read_back_is_not_shown",),
    ),
    Mutant(
        3,
        "growing-compared",
        "what was restored while a file grew is compared with it in the end",
        "known.checksum(index) == checksum_of(volume)",
        "known.checksum(index) is not None",
        (f"{_GROWING}::test_what_is_overwritten_later_is_restored_again_in_the_end",),
    ),
    Mutant(
        3,
        "growing-once",
        "a file that grows is not worked on twice at the same time",
        "self._deferrals.not_yet() | self._in_hand.keys()",
        "self._deferrals.not_yet()",
        ("tests/engine/test_pipeline.py::test_a_file_in_hand_is_not_leased_again",),
    ),
    Mutant(
        7,
        "bad-stack-of-file",
        "a stack that cannot be read costs the others of its file nothing",
        "                    self._leave(index, error.reason)",
        "                    raise",
        (f"{_STACKS_OF_FILES}::test_one_bad_stack_costs_the_others_nothing",),
    ),
    Mutant(
        5,
        "zero-tail",
        "a file that ends in rows of zeros is waited for",
        "        tail = zero_tail(stream, self.pages, states, everything=everything)",
        "        tail = False",
        (f"{_TIFF}::test_a_reserved_file_of_half_a_plane_has_a_zero_tail",),
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
        5,
        "own-result-no-input",
        "a result of this program is no input, whatever its name",
        "return read_token(path) is not None",
        "return False",
        ("tests/outputs/test_compliance.py::TestOmeTiff",),
    ),
    Mutant(
        5,
        "own-file-no-input",
        "a file that this program wrote is no raw file",
        "    if structure.software.startswith(OWN_SOFTWARE):\n        raise OwnOutputError\n",
        "",
        ("tests/formats/test_tiff_refusals.py::test_own_output_is_not_input",),
    ),
    Mutant(
        6,
        "one-stack-ahead",
        "queues of one stack between the stages",
        "queue.Queue(maxsize=size)",
        "queue.Queue()",
        ("tests/engine/test_handover.py::test_no_more_wait_than_were_agreed",),
    ),
    Mutant(
        6,
        "scan-pause",
        "scanning pauses while the journal refuses",
        "until = time.monotonic() + wait_s\n            while time.monotonic() < until and not",
        "until = time.monotonic()\n            while time.monotonic() < until and not",
        ("tests/engine/test_daemon.py",),
    ),
    Mutant(
        6,
        "findings-kept",
        "what the journal's disk refuses is kept in memory",
        "        impossible: dict[StackKey, StackUnreadableError] = {}\n"
        "        with self._journal.batch():\n"
        "            for key, finding in self._findings.items():",
        "        impossible: dict[StackKey, StackUnreadableError] = {}\n"
        "        findings, self._findings = self._findings, {}\n"
        "        with self._journal.batch():\n"
        "            for key, finding in findings.items():",
        ("tests/sources/test_pending.py::test_what_the_disk_refuses_is_kept_for_the_next_time",),
    ),
    Mutant(
        6,
        "log-loses-lines",
        "a full disk costs lines of the log, not the program",
        "            return\n        self._refused = True\n",
        "            return\n        raise error\n",
        ("tests/cli/test_logs.py::test_a_full_disk_costs_lines_and_is_said_once",),
    ),
    Mutant(
        6,
        "smaller-tiles",
        "tiles are halved where memory runs out",
        "            except DeviceMemoryError as error:\n                # Another worker may",
        "            except ZeroDivisionError as error:\n                # Another worker may",
        ("tests/inference/test_tile_size.py::test_too_little_memory_steps_down_once_and_says_so",),
    ),
    Mutant(
        6,
        "newest-reserved",
        "newest first, nothing is leased while another stack is being restored",
        "not self._workers.reserve(_TICK_S)",
        "not self._workers",
        (f"{_PIPELINE}::test_the_newest_waits_for_no_more_than_the_one_in_hand",),
    ),
    Mutant(
        7,
        "suspect-alone",
        "what was in hand at a crash is worked on alone",
        "alone=alone,",
        "alone=True,",
        (f"{_PIPELINE}::test_what_was_in_hand_at_a_crash_waits_for_what_is_in_hand_now",),
    ),
    Mutant(
        7,
        "set-aside",
        "what kills again and again is set aside",
        "\"WHERE state = 'running' AND attempts >= ?\",",
        "\"WHERE state = 'lost' AND attempts >= ?\",",
        (f"{_JOURNAL}::test_what_kills_again_and_again_is_set_aside_once",),
    ),
    Mutant(
        7,
        "own-failure",
        "an error that nobody expected is that stack's alone",
        "return group.restore(model_set)\n            except Exception as error:",
        "return group.restore(model_set)\n            except ValueError as error:",
        (f"{_PIPELINE}::test_an_unexpected_error_is_that_files_alone",),
    ),
    Mutant(
        7,
        "large-put-off",
        "a stack too large for a full disk lets smaller ones go first",
        "self._deferrals.add(entry.key, ",
        "max(0.0, ",
        (f"{_PIPELINE}::test_a_stack_too_large_for_a_full_disk_lets_a_smaller_one_go_first",),
    ),
    Mutant(
        7,
        "full-disk-rests",
        "a full disk rests for growing waits",
        "pause.until = self._clock() + pause.backoff.refused(error)",
        "pause.backoff.refused(error)",
        (f"{_DISK_FULL}::test_waits_grow_to_ten_seconds",),
    ),
    Mutant(
        7,
        "that-disk-only",
        "a full disk does not stop another",
        "return pause is not None and self._clock() < pause.until",
        "return any(self._clock() < each.until for each in self._pauses.values())",
        (f"{_DISK_FULL}::test_a_full_disk_does_not_stop_another",),
    ),
    Mutant(
        8,
        "rounded",
        "values are rounded to the camera's type",
        "    np.rint(values, out=values)\n",
        "",
        (
            "tests/inference/test_restorer.py::test_any_integers_come_back",
            "tests/inference/test_restorer.py::test_unrounded_grey_values_are_those_that_rounding_gives",
        ),
    ),
    Mutant(
        8,
        "clipped",
        "values outside the camera's type are clipped",
        "    np.clip(values, limits.min, limits.max, out=values)\n",
        "",
        ("tests/inference/test_restorer.py::test_clipping_is_counted",),
    ),
    Mutant(
        8,
        "voxel-size",
        "the voxel size is carried over",
        'size\n            metadata[f"PhysicalSize{axis}Unit"] = "µm"',
        '1.0\n            metadata[f"PhysicalSize{axis}Unit"] = "µm"',
        ("tests/outputs/test_ome_tiff.py::test_metadata_are_carried_over",),
    ),
    Mutant(
        9,
        "known-answer",
        "a device whose numbers are wrong is refused",
        "    if not error <= bound:",
        "    if False:",
        (_DEVICES,),
    ),
    Mutant(
        9,
        "cpu-loudly",
        "the CPU in the place of a GPU is warned about",
        'if asked == "auto" and variant.backend.on_cpu:',
        "if False:",
        (_DEVICES,),
    ),
    Mutant(
        9,
        "device-reported",
        "a device that is not as hoped for is named in the report",
        "if warning and warning not in self.device_warnings:",
        "if False:",
        ("tests/outputs/test_report.py::test_a_restored_stack",),
    ),
    Mutant(
        9,
        "envelope-doubt",
        "less light than the model was shown to help with is a doubt",
        "    if ratio < lowest:",
        "    if False:",
        ("tests/trust/test_doubts.py",),
    ),
    Mutant(
        9,
        "doubt-reported",
        "a doubt reaches the report",
        'line["doubts"] = list(trust.doubts)',
        'line["doubts"] = []',
        ("tests/outputs/test_report.py",),
    ),
    Mutant(
        10,
        "stops-between-tiles",
        "a stop ends a stack between two tiles",
        "        if cancelled():\n            raise CancelledError\n        restored =",
        "        restored =",
        ("tests/inference/test_restorer.py::test_it_stops_between_tiles",),
    ),
    Mutant(
        10,
        "stopped-given-back",
        "a stack that a stop ended waits again",
        "if isinstance(error, CancelledError):\n            self._give_back(",
        "if False:\n            self._give_back(",
        (f"{_PIPELINE}::test_stopped_in_mid_stack_it_is_given_back",),
    ),
    Mutant(
        10,
        "temporary-removed",
        "a temporary file is removed, however its writing ends",
        "    finally:\n        with contextlib.suppress(OSError):\n"
        "            disk.current.remove(temporary)\n",
        "    finally:\n        pass\n",
        (f"{_PUBLISH}::test_a_failure_at_any_moment",),
    ),
    Mutant(
        10,
        "leash",
        "a restorer stops when whoever started it lets go",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "pass",
        ("tests/hooks/test_child.py::test_a_restorer_lets_go_when_its_leash_is_dropped",),
    ),
    Mutant(
        HOUSE,
        "telemetry",
        "the runtime reports to nobody",
        'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")',
        "",
        ("tests/security/test_telemetry.py::test_the_runtime_leaves_no_device_id",),
    ),
    Mutant(
        HOUSE,
        "only-cli-prints",
        "nothing below the command line prints",
        "pause = threading.Event()\n",
        "pause = threading.Event()\n        print(seconds)\n",
        (f"{_HOUSE}::test_only_cli_prints",),
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
)
