"""Broken builds of devices and models."""

from tests.mutants.mutant import HOUSE, Mutant

_DEVICES = "tests/inference/test_device_choice.py"
_DEFECTS = "tests/inference/test_defects.py"
_GAIN = "tests/inference/test_gain_over_raw.py"
_CAMERAS = "tests/inference/test_cameras.py"
_FLUX = "tests/inference/test_flux.py"

INFERENCE = (
    Mutant(
        2,
        "device-lost",
        "a device that cannot give the known answer any more is replaced",
        "        except FAILURES:\n            return True\n",
        "        except FAILURES:\n            return False\n",
        (f"{_DEVICES}::test_a_device_that_is_lost_is_told_and_the_next_one_takes_over",),
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
        6,
        "smaller-tiles",
        "tiles are halved where memory runs out",
        "            except DeviceMemoryError as error:\n                # Another worker may",
        "            except ZeroDivisionError as error:\n                # Another worker may",
        ("tests/inference/test_tile_size.py::test_too_little_memory_steps_down_once_and_says_so",),
    ),
    Mutant(
        8,
        "counts-rounded",
        "grey values that a device finishes are rounded as on the processor",
        'node("Round", ["counts/adu"], "counts/whole")',
        'node("Floor", ["counts/adu"], "counts/whole")',
        ("tests/inference/test_counts.py::test_voxels_are_rounded_as_on_the_processor",),
    ),
    Mutant(
        9,
        "counts-known-answer",
        "a device that finishes grey values is asked the known answer",
        "            error = math.inf  # there is room for all that a right network makes of it\n"
        "        _require(error, TOLERANCE_FP32 if full else TOLERANCE_REDUCED, shape)\n",
        "            error = math.inf\n",
        (
            "tests/inference/test_counts.py::test_grey_values_that_are_wrong_are_not_used_and_the_reason_is_kept",
        ),
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
        "tf32-by-name",
        "a GPU that computes in TF32 under the name of float32 is found out",
        "self.error_of(variant) > FLOAT32_ERROR",
        "False",
        (f"{_DEVICES}::test_tf32_does_not_go_by_the_name_of_float32",),
    ),
    Mutant(
        9,
        "form-fails",
        "a GPU's form that fails on a stack gives way to the next one, which runs it",
        "if chosen.variant.form:",
        "if False:",
        (
            "tests/inference/test_forms.py::test_a_form_that_breaks_while_stacks_arrive_costs_no_stack",
        ),
    ),
    Mutant(
        9,
        "recorded-alone",
        "nothing else happens on GPUs while a CUDA graph is recorded",
        "with self._recording.alone():",
        "with self._recording.beside_others():",
        ("tests/inference/test_recording.py",),
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
        10,
        "stops-between-tiles",
        "a stop ends a stack between two tiles",
        "        if cancelled():\n            raise CancelledError\n        restored =",
        "        restored =",
        ("tests/inference/test_restorer.py::test_it_stops_between_tiles",),
    ),
    Mutant(
        HOUSE,
        "defects-are-hidden",
        "hot pixels and cosmic rays never reach the network",
        "channels = without_defects(raw, defects)",
        "channels = raw",
        (f"{_DEFECTS}::test_surroundings_are_as_without_the_defect",),
    ),
    Mutant(
        HOUSE,
        "defects-are-kept",
        "what was recorded is in the result",
        'if self._defects == "keep":',
        'if self._defects == "drop":',
        (f"{_DEFECTS}::test_surroundings_are_as_without_the_defect",),
    ),
    Mutant(
        HOUSE,
        "camera-of-the-channel-by-name",
        "a camera that names a channel goes before one that records every channel",
        'named = any(each.strip("*") for each in patterns)',
        "named = True",
        (f"{_CAMERAS}::test_it_is_the_one_that_belongs_to_the_stack",),
    ),
    Mutant(
        HOUSE,
        "gain-of-some-stacks",
        "the gain costs a share of the network's time only",
        "number % self._gain_every == 0",
        "number % self._gain_every >= 0",
        (f"{_GAIN}::test_one_stack_in_so_many",),
    ),
    Mutant(
        HOUSE,
        "keep-flux",
        "output.keep_flux gives light back",
        "                add_light_back(recorded, made)",
        "                pass",
        (f"{_FLUX}::test_the_setting_gives_it_back_and_nothing_else_does",),
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
        "camera-by-serial-number",
        "a stack is not restored with the noise of another camera",
        'right = not serial or camera.serial in ("", serial)',
        "right = True",
        (f"{_CAMERAS}::test_it_is_the_one_that_belongs_to_the_stack",),
    ),
    Mutant(
        HOUSE,
        "one-camera-is-meant",
        "where two cameras could be meant, none is used",
        "    if len(best) == 1:\n        return CameraChoice(best[0])",
        "    if best:\n        return CameraChoice(best[0])",
        (f"{_CAMERAS}::test_where_two_could_be_meant_none_is_used",),
    ),
    Mutant(
        HOUSE,
        "map-of-bad-pixels-is-sane",
        "an inverted map of bad pixels does not hide the stack from the network",
        "if share > MOST_BAD:",
        "if False:",
        (f"{_DEFECTS}::test_a_map_that_marks_what_no_camera_has_is_refused",),
    ),
    Mutant(
        HOUSE,
        "unmeasured-models-are-told",
        "a person knows that nobody has measured where the model helps",
        'if self.envelope is not None:\n            return ""',
        'if True:\n            return ""',
        ("tests/engine/test_unmeasured_models.py",),
    ),
    Mutant(
        3,
        "chain-digest",
        "the digest of a chain tells all of its steps",
        'digest = hashlib.sha256("\\n".join(model.digest for model in models).encode())',
        'digest = hashlib.sha256("\\n".join(model.digest for model in models[:1]).encode())',
        ("tests/inference/test_chain.py::test_the_recipe_tells_every_step_and_their_order",),
    ),
    Mutant(
        8,
        "chain-defects",
        "hot pixels of the raw stack stay in the result of a chain",
        "                result[where] = stack[where]",
        "                result[where] = result[where]",
        (
            "tests/inference/test_chain.py::"
            "test_only_the_first_step_has_a_camera_and_hot_pixels_stay_as_they_were",
        ),
    ),
)
