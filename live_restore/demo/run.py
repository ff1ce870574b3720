"""``live-restore demo``: a simulated low-light time-lapse arrives and is restored live."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import tifffile

from live_restore.demo.picture import comparison_picture
from live_restore.engine.daemon import Daemon, open_daemon_journal
from live_restore.engine.signals import stopping_on_signals
from live_restore.errors import LiveRestoreError
from live_restore.files import user_folders
from live_restore.inference.model_set import ModelSet
from live_restore.journal.states import State
from live_restore.settings.model import Settings
from live_restore.simulation.quality import best_gaussian, psnr
from live_restore.simulation.scene import LivingCell


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured; PSNR in dB, times in seconds."""

    stacks: int
    psnr_raw_db: float
    psnr_best_gaussian_db: float
    best_gaussian_sigma_z_xy_voxels: tuple[float, float]
    psnr_restored_db: float
    stacks_per_s: float
    delay_s: float
    device: str
    model: str
    folder: Path
    picture: Path
    numbers: Path


def fresh_folder(parent: Path) -> Path:
    """Create and return ``live-restore-demo``, or the first such name that is free."""
    return user_folders.fresh_folder(parent, "live-restore-demo", "name another place with --out")


def run_demo(
    folder: Path,
    model_set: ModelSet,
    settings: Settings,
    *,
    times: int,
    plane_interval_s: float,
    display: Callable[[Daemon], AbstractContextManager[Callable[[], None]]],
) -> DemoResult:
    """Let a simulated microscope write into ``folder`` while the daemon restores.

    Parameters
    ----------
    folder
        A fresh folder; raw stacks, results, picture and numbers go there.
    model_set, settings
        As for ``watch``.
    times
        Stacks to record.
    plane_interval_s
        Time between two planes (s).
    display
        Gets the daemon; its context gives what to call to bring a display up to date.

    Raises
    ------
    LiveRestoreError
        The microscope or a restoration failed.
    """
    raw_folder = folder / "acquisition"
    raw_folder.mkdir()
    microscope = subprocess.Popen(
        [sys.executable, "-m", "live_restore.simulation.microscope",
         str(raw_folder), str(times), str(plane_interval_s)]
    )  # fmt: skip
    started = time.monotonic()
    try:
        with open_daemon_journal(raw_folder, settings, model_set.recipe) as journal:
            daemon = Daemon(raw_folder, settings, model_set, journal)
            with stopping_on_signals(daemon.stop), display(daemon) as refresh:

                def tick() -> None:
                    refresh()
                    snapshot = daemon.progress.snapshot()
                    bad = snapshot.files_failed or snapshot.files_refused
                    # The last stack may be restored before its file is known to be whole.
                    done = snapshot.files_restored >= times
                    whole = done and not journal.counts()[State.ARRIVING]
                    if microscope.poll() not in (None, 0) or bad or whole:
                        daemon.stop()

                daemon.run(tick=tick)
            snapshot = daemon.progress.snapshot()
        seconds = time.monotonic() - started
    finally:
        if microscope.poll() is None:
            microscope.terminate()
        microscope.wait()
    if snapshot.files_restored < times:
        raise LiveRestoreError(
            f"only {snapshot.files_restored} of {times} stacks were restored",
            folder,
            "; ".join(snapshot.warnings) or "it was stopped; run live-restore demo again",
        )
    return _measure(folder, raw_folder, model_set, times, seconds, snapshot.delay_s or 0.0)


def _measure(
    folder: Path, raw_folder: Path, model_set: ModelSet, times: int, seconds: float, delay_s: float
) -> DemoResult:
    last = times - 1
    truth = LivingCell().truth_adu(last)
    raw = tifffile.imread(raw_folder / f"cell_t{last:03d}.ome.tif")
    restored = tifffile.imread(raw_folder / "restored" / f"cell_t{last:03d}.ome.tif")
    gaussian, sigma = best_gaussian(raw, truth)
    model = model_set.models[0]
    result = DemoResult(
        stacks=times,
        psnr_raw_db=psnr(raw, truth),
        psnr_best_gaussian_db=psnr(gaussian, truth),
        best_gaussian_sigma_z_xy_voxels=sigma,
        psnr_restored_db=psnr(restored, truth),
        stacks_per_s=times / seconds,
        delay_s=delay_s,
        device=f"{model.session.device.hardware} ({model.session.device.provider})",
        model=f"{model.card.name} {model.card.version}",
        folder=folder,
        picture=folder / "raw-restored-truth.png",
        numbers=folder / "numbers.json",
    )
    panels = {
        f"raw   {result.psnr_raw_db:.1f} dB": raw,
        f"restored   {result.psnr_restored_db:.1f} dB": restored,
        "truth": truth,
    }
    comparison_picture(panels).save(result.picture)
    result.numbers.write_text(json.dumps(asdict(result), default=str, indent=1), encoding="utf-8")
    return result
