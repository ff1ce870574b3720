"""Broken builds of formats."""

from tests.mutants.mutant import HOUSE, Mutant

_GROWING = "tests/cases/test_growing_files.py"
_TIFF = "tests/formats/test_tiff.py"
_INSPECTED = "tests/formats/test_tiff_inspected.py"
_FOLDERS = "tests/cases/test_acquisition_folders.py"
_EVERY_PROGRAM = "tests/cases/test_every_program.py"
_VENDOR = "tests/formats/test_vendor.py"

FORMATS = (
    Mutant(
        5,
        "planes-present",
        "a TIFF is complete when its directories and their pixels are there",
        "        if self.missing or self.damage:\n            reason = ",
        "        if self.damage:\n            reason = ",
        (f"{_TIFF}::test_a_cut_file_is_never_complete",),
    ),
    Mutant(
        5,
        "inspected-and-the-same",
        "what was found in a file holds only until anything of it changes",
        "        return last.found if last.identity == _Identity.of(stream) else None",
        "        return last.found",
        (f"{_INSPECTED}::test_a_change_that_hides_its_date_is_seen",),
    ),
    Mutant(
        5,
        "inspected-at-rest",
        "what was written just now may be written to again without another date",
        "                at_rest = identity.at_rest()",
        "                at_rest = True",
        (f"{_INSPECTED}::test_of_what_was_written_just_now_the_clock_proves_nothing",),
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
        2,
        "pixels-counted-once",
        "a plane by which a growing file is known again is not counted again",
        "walker.described(offset, index)[0] == walker.pages[index]",
        "walker.look_at(offset, index)[0] == walker.pages[index]",
        ("tests/formats/test_stacks_found.py",),
    ),
    Mutant(
        2,
        "planes-without-directories",
        "planes that were counted behind one directory are looked at anew when others are there",
        "states.clear()",
        "pass",
        ("tests/formats/test_stacks_found.py",),
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
        "own-file-no-input",
        "a file that this program wrote is no raw file",
        "    if structure.software.startswith(OWN_SOFTWARE):\n        raise OwnOutputError\n",
        "",
        ("tests/formats/test_tiff_refusals.py::test_own_output_is_not_input",),
    ),
    Mutant(
        3,
        "known-acquisition",
        "what was an acquisition stays one over restarts",
        "if each.name == known and each.goes_on(folder, names):",
        "if each.name == known and each.recognises(folder, names):",
        (_FOLDERS,),
    ),
    Mutant(
        2,
        "two-cameras",
        "of two images under the same axes none is taken silently",
        "            self._ledger.refuse(stack_index, z)\n",
        "",
        ("tests/formats/test_ndtiff.py",),
    ),
    Mutant(
        5,
        "planes-in-disorder",
        "that a later stack began proves nothing where planes come out of order",
        "self._disordered = True",
        "pass",
        (f"{_EVERY_PROGRAM}::test_a_copy_in_any_order_waits_for_quiet",),
    ),
    Mutant(
        5,
        "vendor-zeros",
        "zeros that a reader gives where planes are missing are no data",
        "blank = sum(not plane.any() for plane in volume)\n        if blank:\n",
        "blank = 0\n        if blank:\n",
        (f"{_VENDOR}::test_missing_planes_are_not_restored_as_zeros",),
    ),
    Mutant(
        7,
        "reader-that-hangs",
        "a vendor's reader that hangs is ended",
        "        self._hung = True\n        self._process.kill()",
        "        self._hung = True",
        (f"{_VENDOR}::test_a_child_that_hangs_is_ended",),
    ),
    Mutant(
        6,
        "reader-that-lies",
        "what a vendor's reader describes is no larger than its file can hold",
        "stacks * found.stack_bytes > bearable_bytes(file_bytes)",
        "False",
        (f"{_VENDOR}::test_descriptions_are_compared_with_the_size_of_the_file",),
    ),
    Mutant(
        HOUSE,
        "spread-names",
        "names in OME-XML lead to no other folder",
        '        and not set(name) & set("/\\\\:")\n',
        "",
        ("tests/formats/test_ome_set.py::test_names_of_no_image_are_refused",),
    ),
    Mutant(
        5,
        "spread-files",
        "an image over several files is complete only with all of them",
        "    absent = [name for name in files if name not in names]\n",
        "    absent: list[str] = []\n",
        ("tests/formats/test_ome_set.py::test_it_is_complete_with_its_last_file",),
    ),
    Mutant(
        HOUSE,
        "movie",
        "a movie without depth is not restored as z",
        'if of_time and found.undeclared_axis == "auto" and planes > 1:',
        "if False:",
        ("tests/cases/test_declared.py::test_a_movie_without_z_is_not_restored_as_z",),
    ),
    Mutant(
        8,
        "units",
        "a frame interval is read in its own unit",
        'seconds(interval, fields.get("tunit", "sec"))',
        'seconds(interval, "sec")',
        ("tests/formats/test_calibration.py::test_a_frame_interval_in_any_unit",),
    ),
)
