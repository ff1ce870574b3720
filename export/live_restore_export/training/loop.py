"""The training loop: batches in, weights out; resumable, seeded, and with an end."""

from __future__ import annotations

import copy
import datetime
import itertools
import json
import math
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from live_restore.errors import TrainingError, UsageError
from live_restore.files.publish import publish_text, publishing
from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore_export.checkpoints.torch_file import OUR_FORMAT
from live_restore_export.network import RCANConfig
from live_restore_export.training.bank import SubjectBank
from live_restore_export.training.batches import Batch, batches
from live_restore_export.training.clock import WorkClock
from live_restore_export.training.config import TrainConfig
from live_restore_export.training.data import TrainingData, validation_patches
from live_restore_export.training.lanes import lane_batches
from live_restore_export.training.optimisation import (
    choose_device,
    follow,
    gradients,
    learning_rate,
    loss_of,
    precision_of,
)
from live_restore_export.training.patches import Patch
from live_restore_export.training.picture import examples_picture
from live_restore_export.training.progress import Display, Record, gains
from live_restore_export.training.run_state import FINAL, LAST, LOG, RunState, save_atomically
from live_restore_export.training.start import Start
from live_restore_export.training.validation import restore_patches, score

EXAMPLES = "examples"

# Steps between looks at the clock, for runs that end after some minutes.
_CLOCK_STEPS = 50
# Steps between looks at the losses: each look waits for the device.
_LOOK_STEPS = {"cpu": 1, "cuda": 25}
_OVERFLOWS_IN_A_ROW = 8


def check_folder(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that holds another run; raises ``UsageError``."""
    if not resume and any((folder / name).exists() for name in (LAST, FINAL, LOG)):
        raise UsageError(
            "holds a run already", folder, "go on with it with --resume, or choose another with -o"
        )


def train(
    config: TrainConfig,
    data: TrainingData,
    architecture: RCANConfig,
    folder: Path,
    shown: Display,
    *,
    start: Start | None = None,
    resume: bool = False,
) -> Path:
    """Train and return the path of the final checkpoint (``final.pt`` in ``folder``).

    Parameters
    ----------
    config, data, architecture
        The run.
    folder
        Where checkpoints, ``log.jsonl`` and pictures go; created.
    shown
        Where progress is shown.
    start
        Weights to begin with; random ones where there are none.
    resume
        Go on from ``last.pt`` if it is there.

    Raises
    ------
    UsageError
        The folder holds a run and ``resume`` is false, or the run had another configuration.
    TrainingError
        The loss is not a number any more, or a process was killed.
    """
    check_folder(folder, resume=resume)
    device = choose_device(config.training.device)
    last = folder / LAST
    if resume and last.exists():
        state = RunState.read(last, config, device)
        shown.report(f"going on from step {state.step} of {state.total}")
    else:
        state = RunState.new(
            config,
            architecture,
            device,
            start.network if start is not None else None,
            start.name if start is not None else "",
        )
    run = _Run(config, state, folder, validation_patches(data.validation, config.training), shown)
    if state.started_from and not state.step:
        run.report_start(device)
    if not run.ended:
        # Not to ``total``: where minutes count, it may grow again.
        steps = range(state.step, config.training.steps)
        with _stream(config, data, steps, device) as stream:
            run.go(stream, device)
    return run.finish(device)


@contextmanager
def _stream(
    config: TrainConfig, data: TrainingData, steps: range, device: torch.device
) -> Iterator[Iterator[Batch]]:
    """Give the batches of ``steps`` while the block runs."""
    options = config.training
    if options.lanes:
        with lane_batches(data.training, data.held, options, config.seed, steps) as stream:
            yield stream
        return
    bank = SubjectBank(
        data.training, data.held, options.scene_refresh_steps, steps, options.processes
    )
    # A GPU takes batches faster than one core photographs them.
    threads = 1 if device.type == "cpu" else max(1, (os.cpu_count() or 2) // 2)
    with closing(bank), batches(bank, options, config.seed, steps, threads) as stream:
        yield stream


def _hardware(device: torch.device) -> str:
    """Return what the training ran on, for the card."""
    cores = f"{available_cores()} cores of {cpu_name()}, torch {torch.__version__}"
    return f"{torch.cuda.get_device_name(device)}, {cores}" if device.type == "cuda" else cores


class _Run:
    """One run on its way: what a step does, and what happens between steps."""

    def __init__(
        self,
        config: TrainConfig,
        state: RunState,
        folder: Path,
        patches: list[Patch],
        shown: Display,
    ) -> None:
        self._config = config
        self._options = config.training
        self._state = state
        self._folder = folder
        self._patches = patches
        self._shown = shown
        self._raw_score = score([patch.noisy for patch in patches], patches)
        # Losses stay on the device until somebody looks: asking for one waits for all before it.
        self._unseen: list[torch.Tensor] = []
        self._seen: list[float] = []
        self._overflows = 0

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or patience is at its end."""
        state, patience = self._state, self._options.patience
        if state.step >= state.total:
            return True
        if patience is None or not state.history:
            return False
        values = [record.restored_db for record in state.history]
        return len(values) - 1 - values.index(max(values)) >= patience

    def report_start(self, device: torch.device) -> None:
        """Report how good the weights are that the run starts from: training has to beat that."""
        restored_db, restored_ssim = score(self._restored(device), self._patches)
        raw_db, raw_ssim = self._raw_score
        numbers = gains(raw_db, restored_db, raw_ssim, restored_ssim)
        self._shown.report(f"starting from {self._state.started_from}: {numbers}")

    def go(self, stream: Iterator[Batch], device: torch.device) -> None:
        """Take steps until the run has ended."""
        state, options = self._state, self._options
        self._write_log()
        before, look_steps = state.seconds, _LOOK_STEPS[device.type]
        first = next(stream)  # until it comes, stacks are drawn: that time does not count
        with WorkClock() as clock:
            for batch in itertools.chain([first], stream):
                self._unseen.append(self._learn(batch, device))
                state.step += 1
                follow(state.average, state.model, state.step, options.ema_decay)
                state.seconds = before + clock.seconds
                if options.max_minutes is not None and state.step % _CLOCK_STEPS == 0:
                    state.total = state.affordable_steps(options)
                validate = state.step % options.checkpoint_every == 0 or state.step >= state.total
                if validate or state.step % look_steps == 0:
                    self._look()
                if validate:
                    self._validate(device)
                self._shown.step(state.step, state.total)
                if validate and self.ended:
                    return

    def _learn(self, batch: Batch, device: torch.device) -> torch.Tensor:
        """Take one step; return its loss."""
        state, options = self._state, self._options
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(state.step, state.total, options)
        precision = precision_of(state.step, state.total, options)
        noisy = torch.from_numpy(batch.noisy).to(device, memory_format=torch.channels_last_3d)
        truth = torch.from_numpy(batch.truth).to(device)
        # The search for the fastest algorithm takes seconds per shape: worth it for whole patches.
        torch.backends.cudnn.benchmark = noisy.shape[2] == options.patch_zyx[0]
        loss, _ = gradients(
            state.model, state.optimiser, state.scaler, noisy,
            lambda restored: loss_of(restored, noisy, truth, options),
            precision, options.gradient_clip,
        )  # fmt: skip
        state.scaler.step(state.optimiser)
        state.scaler.update()
        return loss

    def _restored(self, device: torch.device) -> list[NDArray[np.float32]]:
        """Return what the averaged weights make of the validation patches."""
        return restore_patches(self._state.average, self._patches, device)

    def _look(self) -> None:
        """Look at the losses since the last look; raises ``TrainingError`` at one that is none."""
        losses = torch.stack(self._unseen).tolist()
        first = self._state.step - len(losses) + 1
        self._unseen.clear()
        # float16 overflows now and then: the scaler has left those steps out.
        forgiven = _OVERFLOWS_IN_A_ROW if self._options.precision == "float16" else 0
        for step, loss in enumerate(losses, first):
            self._overflows = 0 if math.isfinite(loss) else self._overflows + 1
            if self._overflows > forgiven:
                raise TrainingError(
                    f"the loss of step {step} is {loss}: the weights have diverged",
                    self._folder,
                    "set a smaller training.learning_rate or gradient_clip, or precision = "
                    '"float32", and start anew',
                )
        self._seen += [loss for loss in losses if math.isfinite(loss)]

    def _validate(self, device: torch.device) -> None:
        """Judge the averaged weights, remember it, and write everything down."""
        state = self._state
        restored = self._restored(device)
        raw_db, raw_ssim = self._raw_score
        restored_db, restored_ssim = score(restored, self._patches)
        record = Record(
            step=state.step,
            total=state.total,
            minutes=round(state.seconds / 60, 2),
            loss=sum(self._seen) / max(1, len(self._seen)),
            learning_rate=learning_rate(state.step, state.total, self._options),
            raw_db=raw_db,
            restored_db=restored_db,
            raw_ssim=raw_ssim,
            restored_ssim=restored_ssim,
        )
        self._seen.clear()
        state.history.append(record)
        if self._options.patience is not None and restored_db >= max(
            past.restored_db for past in state.history
        ):
            state.best = copy.deepcopy(state.average.state_dict())
        state.save(self._folder / LAST, self._config)
        self._write_log()
        with publishing(self._folder / EXAMPLES / f"step_{state.step:07d}.png") as temporary:
            examples_picture(self._patches, restored).save(temporary, format="png")
        self._shown.validated(record)

    def _write_log(self) -> None:
        """Write the log anew: lines of steps that were lost to a kill are not in it."""
        lines = [json.dumps(record.as_dict()) + "\n" for record in self._state.history]
        publish_text(self._folder / LOG, "".join(lines))

    def finish(self, device: torch.device) -> Path:
        """Write the final checkpoint: the averaged weights, with patience those that did best."""
        state = self._state
        if state.best is not None:
            state.average.load_state_dict(state.best)
        restored_db, restored_ssim = score(self._restored(device), self._patches)
        final = self._folder / FINAL
        save_atomically(
            {
                "format": OUR_FORMAT,
                "architecture": state.model.config.as_dict(),
                "state_dict": {
                    name: value.cpu().contiguous()
                    for name, value in state.average.state_dict().items()
                },
                "training": {
                    **self._config.record(),
                    "steps_done": state.step,
                    "minutes": round(state.seconds / 60, 1),
                    "hardware": _hardware(device),
                    "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                    "raw_db": self._raw_score[0],
                    "restored_db": restored_db,
                    "raw_ssim": self._raw_score[1],
                    "restored_ssim": restored_ssim,
                    **({"started_from": state.started_from} if state.started_from else {}),
                },
            },
            final,
        )
        return final
