"""Broken builds of outputs."""

from tests.mutants.mutant import HOUSE, Mutant

_GROWING_RESULT = "tests/outputs/test_growing_ome_tiff.py"
_OME_TIFF = "tests/outputs/test_ome_tiff_output.py"
_ANNOTATIONS = "tests/outputs/test_annotations.py"
_OME_ZARR = "tests/outputs/test_ome_zarr_output.py"

OUTPUTS = (
    Mutant(
        3,
        "not-made-again",
        "a result that is there and current is not made again",
        "return is_of_file(result_path.report, file_stacks) and result_path.taken",
        "return False",
        (f"{_OME_TIFF}::test_the_same_again_takes_the_same_name",),
    ),
    Mutant(
        3,
        "same-raw-bytes",
        "a result counts for the raw bytes that it was made from",
        "same = then.agrees(file_stacks.fingerprint)",
        "same = True",
        (f"{_OME_TIFF}::test_a_changed_raw_file_is_not_current",),
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
        5,
        "own-result-no-input",
        "a result of this program is no input, whatever its name",
        "return read_token(path) is not None",
        "return False",
        ("tests/outputs/test_compliance.py::TestOmeTiff",),
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
        "device-reported",
        "a device that is not as hoped for is named in the report",
        "if warning and warning not in self.device_warnings:",
        "if False:",
        ("tests/outputs/test_report.py::test_a_restored_stack",),
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
        HOUSE,
        "lost-error-bars",
        "a result that has lost its error bars is made again",
        "return name is None or not holds_nothing(path.with_name(Path(name).name))",
        "return True",
        ("tests/cases/test_error_bars.py::test_lost_ones_are_made_again",),
    ),
    Mutant(
        HOUSE,
        "methods-tell-the-gain",
        "the paragraph for a paper has the gain, and of how many stacks it is not known",
        "    parts.append(_gain(done))",
        "    pass",
        ("tests/cli/test_methods.py::test_what_was_estimated_is_in_it",),
    ),
    Mutant(
        HOUSE,
        "assumed",
        "what is assumed about a file is on the screen",
        "        self.notes += self.request.file_stacks.assumptions\n",
        "        pass\n",
        (
            "tests/cases/test_declared.py::"
            "test_an_undeclared_axis_is_on_the_screen_in_the_same_words_for_all",
        ),
    ),
    Mutant(
        8,
        "plane-metadata",
        "times, exposures and places of planes are carried over",
        '        metadata["Plane"] = planes\n',
        "        pass\n",
        ("tests/outputs/test_recorded.py::test_micro_manager_says_where_planes_were_taken",),
    ),
    Mutant(
        HOUSE,
        "restored-again-counts-twice",
        "methods counts the results, and says that they are stacks",
        "    restored = {which for which, _ in results}\n",
        "    restored = {str(n) for n, _ in enumerate(results)}\n",
        ("tests/cli/test_methods.py::test_a_stack_that_was_restored_again_counts_once",),
    ),
    Mutant(
        HOUSE,
        "annotations-are-text",
        "text of others cannot forge the metadata of a result",
        "return html.escape(xml_text(text[:_LONGEST]))",
        "return text[:_LONGEST]",
        (f"{_ANNOTATIONS}::test_hostile_text_stays_text",),
    ),
    Mutant(
        HOUSE,
        "annotations-are-the-report",
        "the numbers in the image are those of its own stacks",
        'lines[line["position"]].append(line)',
        "lines[0].append(line)",
        (f"{_ANNOTATIONS}::test_each_position_has_its_own",),
    ),
    Mutant(
        2,
        "image-made-anew",
        "an image that is moved away while it is written is not begun without its mark",
        "folder.mkdir(exist_ok=True)\n",
        "folder.mkdir(parents=True, exist_ok=True)\n",
        (f"{_OME_ZARR}::test_an_image_that_is_renamed_while_it_is_written_is_not_made_anew",),
    ),
)
