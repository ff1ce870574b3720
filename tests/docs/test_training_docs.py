"""What docs/how-to/train.md shows is what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from live_restore_export.cli.main import build_parser
from live_restore_export.training.options import PairedData, TrainingOptions

from live_restore.settings.model import Settings

TEXT = (Path(__file__).parents[2] / "docs" / "how-to" / "train.md").read_text(encoding="utf-8")


def test_its_configurations_are_valid() -> None:
    # Here, since it brings PyTorch, which nothing else needs for as much as being collected.
    from live_restore_export.training.config import TrainConfig

    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.+?)```", TEXT, re.DOTALL)]
    of_the_daemon = [block for block in blocks if block.keys() & Settings.model_fields.keys()]
    runs = [block for block in blocks if block not in of_the_daemon]
    assert [TrainConfig.model_validate(run).data.source for run in runs] == ["pairs", "clean"]
    own, adapting = (Settings.model_validate(block) for block in of_the_daemon)
    assert own.models[0].model == "runs/actin/model.onnx"
    assert adapting.adapt.after_stacks == 40


def test_its_commands_parse() -> None:
    commands = re.findall(r"^live-restore-export (.+)$", TEXT, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        build_parser().parse_args(command.split())


def test_every_setting_is_listed() -> None:
    listed = set(re.findall(r"`([a-z0-9_]+)`", TEXT))
    wanted = TrainingOptions.model_fields.keys() | PairedData.model_fields.keys()
    assert wanted - {"source", "raw", "gt"} <= listed


def test_the_listed_defaults_are_the_defaults() -> None:
    table = dict(re.findall(r"^\| (`.+?) \| (.+?) \|", TEXT, re.MULTILINE))
    for keys, values in table.items():
        names = re.findall(r"`([a-z0-9_]+)`", keys)
        said = re.findall(r"\[.+?\]|[^,\s][^,]*", values)
        for name, text in zip(names, said, strict=True):
            default = TrainingOptions.model_fields[name].default
            if default is None:
                assert text.strip() in ("none", "one per core")
            else:
                value = tomllib.loads(f"v = {text.strip()}")["v"]
                assert value == (list(default) if isinstance(default, tuple) else default), name
