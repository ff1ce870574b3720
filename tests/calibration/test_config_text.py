"""Only the table of the camera changes."""

from __future__ import annotations

import tomllib

import pytest

from live_restore.calibration.config_text import with_camera
from live_restore.errors import SettingsError

VALUES = {"gain_adu_per_e": "2.17", "offset_adu": "100.20"}
TEXT = """# mine
[watch]
settle_s = 1  # slow disk

[camera]  # old
# a remark
gain_adu_per_e = 1
bad_pixels = "bad.tif"

# of the log
[log]
level = "debug"
"""


def test_a_table_that_is_there_is_replaced_and_the_rest_stays() -> None:
    changed = with_camera(TEXT, VALUES, ["measured"])
    assert tomllib.loads(changed) == {
        "watch": {"settle_s": 1},
        "camera": {"gain_adu_per_e": 2.17, "offset_adu": 100.2, "bad_pixels": "bad.tif"},
        "log": {"level": "debug"},
    }
    assert changed.startswith("# mine\n[watch]\nsettle_s = 1  # slow disk\n")
    assert changed.endswith('\n\n# of the log\n[log]\nlevel = "debug"\n')
    assert with_camera(changed, VALUES, ["measured"]) == changed


def test_a_new_file_and_one_without_a_camera() -> None:
    assert with_camera("", VALUES, []) == "[camera]\ngain_adu_per_e = 2.17\noffset_adu = 100.20\n"
    changed = with_camera("[[models]]\nmodel = 'fast'", VALUES, [])
    assert tomllib.loads(changed)["models"] == [{"model": "fast"}]


def test_one_of_several_is_replaced_and_the_others_stay() -> None:
    one = with_camera(TEXT, VALUES, ["measured"], {"serial": 'A "1"'})
    both = with_camera(one, VALUES, [], {"channels": ["GFP"]})
    assert tomllib.loads(both)["cameras"] == [
        {"serial": 'A "1"', "gain_adu_per_e": 2.17, "offset_adu": 100.2},
        {"channels": ["GFP"], "gain_adu_per_e": 2.17, "offset_adu": 100.2},
    ]
    assert tomllib.loads(both)["camera"] == tomllib.loads(TEXT)["camera"]
    again = with_camera(both, {"gain_adu_per_e": "9"}, ["anew"], {"serial": 'A "1"'})
    assert [each["gain_adu_per_e"] for each in tomllib.loads(again)["cameras"]] == [9, 2.17]
    assert again.startswith(TEXT.rstrip())


@pytest.mark.parametrize("text", ["cameras = [{serial = 'A'}]\n", "cameras = 3\n"])
def test_several_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        with_camera(text, VALUES, [], {"serial": "A"})


@pytest.mark.parametrize(
    "text",
    [
        "camera = {gain_adu_per_e = 1}\n",
        "camera.gain_adu_per_e = 1\n",
        "[camera\n",
        'model = """\n[camera]\n[x]\n"""\n',  # text that only looks like the table
    ],
)
def test_what_cannot_be_changed_line_by_line_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        with_camera(text, VALUES, [])
