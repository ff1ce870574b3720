"""The scripts in docs/how-to/micro-manager.md, run as they are printed there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE_S, environment
from tests.support.systems import needs_acquisitions

needs_acquisitions()

ROOT = Path(__file__).resolve().parents[2]
MICROSCOPE = """
from mm_test_adapters import device_adapter_path
adapters = device_adapter_path()
"""
BEFORE = {
    "In a pycromanager script": """
from pycromanager import start_headless
start_headless(adapters, f"{adapters}/MMConfig_demo.cfg", python_backend=True)
""",
    "In a pymmcore-plus script": """
import useq
from pymmcore_plus import CMMCorePlus
from live_restore import LiveRestore
mmc = CMMCorePlus(adapter_paths=[adapters])
mmc.loadSystemConfiguration(f"{adapters}/MMConfig_demo.cfg")
sequence = useq.MDASequence(
    time_plan={"interval": 0, "loops": 2}, channels=["DAPI"], z_plan={"range": 4, "step": 1}
)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("heading", BEFORE)
def test_a_documented_script(tmp_path: Path, heading: str) -> None:
    text = (ROOT / "docs" / "how-to" / "micro-manager.md").read_text(encoding="utf-8")
    _, _, section = text.partition(f"## {heading}\n")
    block = re.search(r"```python\n(.+?)```", section, flags=re.DOTALL)
    assert block is not None
    script = block[1].replace("num_time_points=100", "num_time_points=2")
    script = script.replace("D:/data", tmp_path.as_posix())
    done = subprocess.run(
        [sys.executable, "-c", MICROSCOPE + BEFORE[heading] + script],
        env=environment(tmp_path / "state") | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 stacks restored" in done.stderr.splitlines()[-1]
    assert len(list(tmp_path.glob("*_restored/*.ome.tif"))) == 2
