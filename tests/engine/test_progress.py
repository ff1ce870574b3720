"""Progress: counts are of files, each once, and a failure that was made good is none."""

from __future__ import annotations

from pathlib import Path

from live_restore.engine.progress import Progress

A, B = Path("a.tif"), Path("b.tif")


def test_counts() -> None:
    progress = Progress()
    assert progress.snapshot().delay_s is None
    assert progress.snapshot().mvoxel_per_s is None
    progress.restored(A, 3, 2_000_000, 4.0, 1.0)
    progress.restored(B, 1, 2_000_000, 4.0, 3.0)
    progress.restored(B, 1, 0, 0.0, None)
    snapshot = progress.snapshot()
    assert (snapshot.files_restored, snapshot.stacks_restored) == (3, 5)
    assert snapshot.mvoxel_per_s == 0.5
    assert snapshot.delay_s == 2.0


def test_a_file_fails_once_and_can_be_made_good() -> None:
    progress = Progress()
    progress.failed(A)
    progress.failed(A)
    progress.refused(B)
    assert (progress.snapshot().files_failed, progress.snapshot().files_refused) == (1, 1)
    progress.restored(A, 1, 10, 0.0, 0.1)
    progress.already_restored(B)
    assert (progress.snapshot().files_failed, progress.snapshot().files_refused) == (0, 0)


def test_the_last_warnings_are_kept_each_once() -> None:
    progress = Progress()
    for text in ("1", "2", "2", "3", "4", "5", "6", "6"):
        progress.warn(text)
    assert progress.snapshot().warnings == ("2", "3", "4", "5", "6")
