"""Which form of network is the best for its time? Each learns equally long, and is judged alike.

    python benchmarks/equal_time.py table.json --minutes 10
    python benchmarks/equal_time.py table.json --minutes 30 --device cuda --only fast --only wider

The forms cost about as much per voxel as ``fast``: wider and shallower, narrower and deeper,
without folding, folded twice as far, told the noise, and two small networks of which the second
sees what the first made of the stack. All begin with random weights, take the same batches
(``fast.toml``) in the same order and in the same precision, each for as many minutes of processor
time (of the clock on a GPU), and are judged by kinds that no training draws (``judges.py``, another
field than that of the tables). Who is the best after minutes need not be the best after hours.

Forms can learn side by side, each command with its own table, ``--only`` and ``--threads 1``; a
command that is given the other tables, too, prints and times all of them. Processor time is only
comparable where no other work takes the processors away.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import judges
import numpy as np
import torch
from live_restore_export.cli.parsing import positive, whole
from live_restore_export.network import RCAN, RCANConfig, begin_near_identity
from live_restore_export.onnx.graph import build_model
from live_restore_export.quality.gain import PEAKS_E
from live_restore_export.training.bank import SubjectBank
from live_restore_export.training.batches import Batch, batches
from live_restore_export.training.config import TrainConfig
from live_restore_export.training.optimisation import (
    gradients,
    learning_rate,
    loss_of,
    make_optimiser,
    precision_of,
)
from numpy.typing import NDArray
from quality import photographed
from torch import Tensor
from turns import in_turns, times_as_fast

from live_restore.files.publish import publish_text
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.onnx_cpu import OnnxCpu
from live_restore.inference.backends.session import Floats
from live_restore.inference.image.intensity import scale_from_percentiles
from live_restore.simulation.quality import psnr

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "export" / "live_restore_export" / "configs" / "fast.toml"
FAST = RCANConfig(groups=2, blocks=2, channels=24, reduction=4, lateral_shuffle=2)
HALF = replace(FAST, groups=1)
FORMS: dict[str, tuple[RCANConfig, ...]] = {
    "fast": (FAST,),
    "wider": (replace(FAST, groups=1, channels=32),),
    "deeper": (replace(FAST, groups=4, blocks=3, channels=16),),
    "not folded": (replace(FAST, groups=1, channels=16, lateral_shuffle=1),),
    "folded 4 x 4": (replace(FAST, channels=48, lateral_shuffle=4),),
    "told the noise": (replace(FAST, in_channels=2),),
    "a second pass": (HALF, replace(HALF, in_channels=2)),
}
# Another field of each kind than that which the tables of docs/explanation/quality.md show.
_FIELD = 1
_SEED = 2_400_000_000
_TIMED_ZYX = (16, 128, 128)
_WARM_UP_STEPS = 50


class Form(torch.nn.Module):
    """One network, or two: the second is given the stack and what the first made of it."""

    def __init__(self, configs: tuple[RCANConfig, ...]) -> None:
        super().__init__()
        self.passes = torch.nn.ModuleList(RCAN(config) for config in configs)
        self.told_noise = configs[0].in_channels == 2
        for network in self.passes:
            begin_near_identity(network)

    def forward(self, given: Tensor) -> Tensor:
        """Return (N, 1, Z, Y, X) of (N, 2, Z, Y, X): the noisy stack, and how noisy it is."""
        noisy = given[:, :1]
        given = given if self.told_noise else noisy
        made: Tensor = self.passes[0](given)
        for network in self.passes[1:]:
            made = network(torch.cat((noisy, made), 1))
        return made


def rms(noisy: Tensor, truth: Tensor) -> Tensor:
    """Return the noise of each image (N, 1, 1, 1, 1)."""
    return (noisy - truth).pow(2).mean(dim=(1, 2, 3, 4), keepdim=True).sqrt()


def drawn(config: TrainConfig, count: int) -> list[Batch]:
    """Return so many batches: the same for every form."""
    options = config.training
    data = config.gather(CONFIG.parent)
    bank = SubjectBank(
        data.training, min(data.held, count), options.scene_refresh_steps, range(count), 0
    )
    with closing(bank), batches(bank, options, config.seed, range(count), 2) as stream:
        return list(stream)


def learn(form: Form, seen: list[Batch], config: TrainConfig, options: argparse.Namespace) -> int:
    """Train for the minutes given, the rate falling with what is left; return the steps."""
    training = config.training.model_copy(update={"warmup_steps": _WARM_UP_STEPS})
    optimiser = make_optimiser(form, training)
    scaler = torch.amp.GradScaler(options.device, enabled=training.precision == "float16")
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    began, step = clock(), 0
    form.train()
    while (part := (clock() - began) / (60 * options.minutes)) < 1:
        total = max(1.0, step / max(part, 1e-9))  # the steps that there will be at this pace
        batch = seen[step % len(seen)]
        noisy, truth = (torch.from_numpy(each).to(options.device) for each in batch)
        optimiser.param_groups[0]["lr"] = learning_rate(step, total, training)
        gradients(
            form, optimiser, scaler, torch.cat((noisy, rms(noisy, truth).expand_as(noisy)), 1),
            functools.partial(loss_of, noisy=noisy, truth=truth, options=training),
            precision_of(step, total, training), training.gradient_clip,
        )  # fmt: skip
        scaler.step(optimiser)
        scaler.update()
        step += 1
    return step


@functools.cache
def _signal(kind: str) -> NDArray[np.float32]:
    return judges.signal(kind, _FIELD)


def judged(form: Form, kinds: list[str], device: str) -> dict[str, dict[str, float]]:
    """Return the PSNR (dB) of each kind at each light."""
    form.eval()
    found: dict[str, dict[str, float]] = {}
    for kind in kinds:
        signal = _signal(kind)
        for case in photographed(kind, signal, _SEED):
            scale = scale_from_percentiles(case.raw, 2.0, 99.9)
            given = [
                torch.from_numpy(scale.normalise(each))[None, None].to(device)
                for each in (case.raw, case.truth)
            ]
            with torch.inference_mode():
                noise = rms(*given).expand_as(given[0])
                made = form(torch.cat((given[0], noise), 1))[0, 0].float().cpu().numpy()
            score = psnr(scale.restore(made), case.truth)
            found.setdefault(f"{case.peak_e:g}", {})[kind] = score
    return found


class Passes:
    """A form in ONNX Runtime, as users run it."""

    def __init__(self, form: Form) -> None:
        self._sessions = []
        for network in form.passes:
            source = ModelSource.of(
                Path("equal_time.onnx"), build_model(network).SerializeToString()
            )
            shape = (1, network.config.in_channels, *_TIMED_ZYX)
            self._sessions.append((shape[1], OnnxCpu().open(source, shape, "fp32", 0, Limits())))

    def run(self, tile: Floats) -> None:
        """Run each network on as many channels of (1, 2, Z, Y, X) as it takes."""
        for channels, session in self._sessions:
            session.run(tile[:, :channels])


def rows_of(paths: list[Path]) -> dict[str, Any]:
    """Return what table files hold together."""
    found: dict[str, Any] = {}
    for path in paths:
        found |= json.loads(path.read_text()) if path.exists() else {}
    return found


def add(path: Path, name: str, row: dict[str, Any]) -> None:
    """Add a row to a table file."""
    publish_text(path, json.dumps(rows_of([path]) | {name: row}, indent=1) + "\n")


def table(rows: dict[str, Any], taken: dict[str, list[float]]) -> str:
    """Return it for people and for the documentation."""
    named_first, first = next(iter(rows.items()))
    lines = [
        "| form | weights | time for a stack | steps | "
        + " | ".join(f"{peak:g} e-" for peak in PEAKS_E) + " |",
        "|---|---:|---:|---:|" + "---:|" * len(PEAKS_E),
    ]  # fmt: skip
    for name, row in rows.items():
        means = [float(np.mean(list(row["psnr"][f"{peak:g}"].values()))) for peak in PEAKS_E]
        base = [float(np.mean(list(first["psnr"][f"{peak:g}"].values()))) for peak in PEAKS_E]
        told = (
            f"{mean:.2f}" if row is first else f"{mean - of_first:+.2f}"
            for mean, of_first in zip(means, base, strict=True)
        )
        longer = 1 / times_as_fast(taken[name], taken[named_first])
        lines.append(
            f"| {name} | {row['weights']:,} | {longer:.2f} x | "
            f"{row['steps']:,} | " + " | ".join(told) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tables", type=Path, nargs="+", help="JSON file that is added to, and others, also shown"
    )
    parser.add_argument("--minutes", type=positive, default=10, help="that each learns")
    parser.add_argument(
        "--batches", type=whole, default=400, help="that are drawn, and seen in turn"
    )
    parser.add_argument("--only", action="append", choices=list(FORMS))
    parser.add_argument("--kind", action="append", choices=list(judges.KINDS), help="of the judges")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=whole, help="of the processor, instead of all")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    config = TrainConfig.load(CONFIG)
    seen = drawn(config, options.batches)
    names, kinds = options.only or list(FORMS), options.kind or list(judges.KINDS)
    for name in names:
        torch.manual_seed(config.seed)
        form = Form(FORMS[name]).to(options.device)
        steps = learn(form, seen, config, options)
        row = {
            "weights": sum(each.numel() for each in form.parameters()),
            "steps": steps, "minutes": options.minutes, "psnr": judged(form, kinds, options.device),
        }  # fmt: skip
        add(options.tables[0], name, row)
        print(name, steps, flush=True)
    found = rows_of(options.tables)
    rows = {name: found[name] for name in FORMS if name in found}
    sessions = {name: Passes(Form(FORMS[name])) for name in rows}
    tile = np.random.default_rng(0).random((1, 2, *_TIMED_ZYX), np.float32)
    print(table(rows, in_turns(sessions, tile, rounds=5)))


if __name__ == "__main__":
    main()
