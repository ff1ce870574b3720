"""A scheduler here, and workers that Slurm runs as jobs.

``dask-jobqueue`` writes the head of the job script, from the ``jobqueue.yaml`` that many computing
centres have already, submits it and cancels it; the command in it is our worker.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from live_restore.archive.helpers import Child, Report, free_port
from live_restore.cluster.certificates import make_members
from live_restore.errors import UsageError, one_line
from live_restore.installation import install_with
from live_restore.settings.devices import is_loopback
from live_restore.settings.model import Settings

_MEMBER = "archive"
_LOOK_S = 15.0
_ASKED_S = 10.0
_MEMORY = "8 GB"
_FEWEST_CORES = 4
# A command that ended by force has left no scheduler: its workers need not wait for it for long.
_WORKER_WAITS_S = 120
# Killed by a stack, a worker starts again; stopped, or told that it is of no use, it does not.
_AGAIN = (
    "while :; do {worker}; code=$?; [ $code = 0 ] || [ $code = 2 ] && exit $code; sleep 1; done"
)


class SlurmHelpers:
    """A scheduler on this computer, and a job of Slurm for every worker.

    Parameters
    ----------
    settings
        All settings.
    flags
        Of the command line, for every worker.
    count
        How many jobs.
    listen
        Where the scheduler listens, ``dask://HOST:PORT``; "": at the address of this computer's
        name.
    logs
        Folder for what they print; the computers that run jobs must have it, too.
    report
        Told what a person should know.

    Raises
    ------
    UsageError
        A package is missing, or Slurm refuses.
    """

    def __init__(
        self,
        settings: Settings,
        flags: Sequence[str],
        count: int,
        listen: str,
        logs: Path,
        report: Report,
    ) -> None:
        if importlib.util.find_spec("dask_jobqueue") is None:
            raise UsageError(
                "Slurm is reached through the package dask-jobqueue", None, install_with("slurm")
            )
        self.address = listen or _own_address()
        self.certificates = settings.cluster.certificates
        if self.certificates is None and not is_loopback(self.address):
            (self.certificates,) = make_members(logs / "certificates", [_MEMBER])
        guard = () if self.certificates is None else ("--certificates", str(self.certificates))
        words = ("worker", "--scheduler", self.address, "--wait-s", str(_WORKER_WAITS_S), *guard)
        command = shlex.join([sys.executable, "-m", "live_restore", *words, *flags])
        self._scheduler = Child(
            "the scheduler", ("scheduler", "--listen", self.address, *guard),
            logs / "scheduler.log", report,
        )  # fmt: skip
        self._report = report
        self._cores = settings.inference.threads
        self._command, self._logs = _AGAIN.format(worker=command), logs
        self._looked_at = time.monotonic()
        self._jobs: list[Any] = []
        try:
            self._jobs = [self._submitted() for _ in range(count or 1)]
        except BaseException:
            self.close()
            raise

    def _submitted(self) -> Any:
        job = job_of(self._command, self._cores, self._logs)
        try:
            asyncio.run(job.start())
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"Slurm takes no job ({one_line(error)})", None,
                "see whether sbatch works here, and mend jobqueue.yaml",
            ) from None  # fmt: skip
        return job

    def tick(self) -> None:
        """Start the scheduler again, and submit jobs that have ended anew: their time was up."""
        self._scheduler.tick()
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        there = _queued([str(job.job_id) for job in self._jobs])
        for number, job in enumerate(self._jobs):
            if there is not None and str(job.job_id) not in there:
                self._report(f"job {job.job_id} has ended; another one is submitted")
                self._jobs[number] = self._submitted()

    def close(self) -> None:
        """Cancel the jobs, and end the scheduler."""
        for job in self._jobs:
            with suppress(OSError, RuntimeError):
                asyncio.run(job.close())
        self._scheduler.close()


def job_of(command: str, cores: int, logs: Path) -> Any:
    """Return a job of Slurm that runs a command; what ``jobqueue.yaml`` says of jobs holds.

    Parameters
    ----------
    command
        For the shell.
    cores
        As many, unless ``jobqueue.yaml`` says how many; 0: 4.
    logs
        Where its output goes, unless it says that, too.
    """
    import dask
    from dask_jobqueue.slurm import SLURMJob

    known = dask.config.get("jobqueue.slurm", {})
    job = SLURMJob(
        name="live-restore",
        job_name=None if known.get("name", "dask-worker") != "dask-worker" else "live-restore",
        cores=known.get("cores") or cores or _FEWEST_CORES,
        memory=known.get("memory") or _MEMORY,
        processes=1,
        log_directory=known.get("log-directory") or str(logs),
    )
    job._command_template = command
    return job


def _queued(numbers: Sequence[str]) -> set[str] | None:
    """Return which jobs wait or run; ``None`` where Slurm does not answer just now."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    try:
        done = subprocess.run(
            [squeue, "--noheader", "--format", "%A", "--user", str(os.getuid())],
            capture_output=True, text=True, timeout=_ASKED_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split()) & set(numbers)


def _own_address() -> str:
    try:
        host = socket.gethostbyname(socket.gethostname())
        return f"dask://{host}:{free_port(host)}"
    except OSError as error:
        raise UsageError(
            f"this computer's own address is not known ({error.strerror or error})", None,
            "name one that the computers of the cluster reach with --listen dask://HOST:PORT",
        ) from None  # fmt: skip
