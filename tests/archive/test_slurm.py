"""Workers as jobs of Slurm: the script that is submitted, and, where Slurm is, the whole way."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import dask
import pytest

from live_restore.archive.slurm import job_of
from tests.archive.test_archive import recorded, results
from tests.support.cluster import Started
from tests.support.processes import PATIENCE_S


def test_the_job_script_runs_our_worker_as_the_computing_centre_says(tmp_path: Path) -> None:
    site = {"queue": "gpu", "walltime": "08:00:00", "job-extra-directives": ["--gres=gpu:1"],
            "job-script-prologue": ["module load cuda"]}  # fmt: skip
    with dask.config.set({f"jobqueue.slurm.{key}": value for key, value in site.items()}):
        script = job_of("live-restore worker --scheduler dask://a:1", 2, tmp_path).job_script()
    lines = script.splitlines()
    assert lines[0].startswith("#!")
    for line in ("#SBATCH -J live-restore", "#SBATCH -p gpu", "#SBATCH -t 08:00:00",
                 "#SBATCH --gres=gpu:1", "#SBATCH --cpus-per-task=2", "module load cuda",
                 "live-restore worker --scheduler dask://a:1"):  # fmt: skip
        assert line in lines
    assert "distributed.cli" not in script
    checked = subprocess.run(["sh", "-n"], input=script, text=True, check=False)
    assert checked.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sbatch") is None, reason="Slurm is not installed here")
def test_an_archive_is_restored_by_jobs(tmp_path: Path) -> None:
    if subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("Slurm does not run here")
    archive = recorded(tmp_path / "a", 4)
    words = ("restore", str(archive), "--cluster", "slurm", "--workers", "2", "--device", "cpu")
    started = Started(tmp_path / "state", *words)
    assert started.process.wait(PATIENCE_S) == 0, started.said
    assert "4 restored, 0 failed" in started.said
    assert len(results(archive)) == 8
    jobs = subprocess.run(["squeue", "--noheader", "--format", "%j %T"], capture_output=True,
                          text=True, check=True).stdout  # fmt: skip
    assert not [line for line in jobs.splitlines() if "COMPLETING" not in line]
