"""Where a network's time goes on a device, kernel by kernel and node by node, kept as files.

    python benchmarks/gpu/profile_networks.py FOLDER [--tiny]

ONNX Runtime's own profile (``onnxruntime.json``, for chrome://tracing or Perfetto) and PyTorch's
(``torch.json``, float16 where there is a GPU) of G5 B5 C32 on 12 x 1550 x 1920. Printed: the kinds
of node and the kernels that take most; the first two of each are the losses to attack. ``--tiny``
rehearses on the processor.
"""

from __future__ import annotations

import argparse
import collections
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from live_restore_export.network import RCAN, RCANConfig
from live_restore_export.onnx.export import export_network, make_card
from networks import FULL, TINY, Suite, torch_work  # beside this file
from torch.profiler import ProfilerActivity, profile

_SHOWN = 8
_RUNS = 3


def of_onnx_runtime(
    config: RCANConfig, volume: torch.Tensor, suite: Suite, folder: Path
) -> dict[str, float]:
    """Return seconds per kind of node and provider; keep the trace."""
    torch.manual_seed(0)
    content = export_network(RCAN(config).eval(), make_card(config, "profile")).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "onnxruntime")
    provider = "CUDAExecutionProvider" if suite.device == "cuda" else "CPUExecutionProvider"
    session = onnxruntime.InferenceSession(content, options, providers=[provider])
    if session.get_providers()[0] != provider:
        raise SystemExit("the CUDA libraries could not be loaded")
    name = session.get_inputs()[0].name
    for _ in range(_RUNS):
        session.run(None, {name: volume.numpy()})
    trace = Path(session.end_profiling()).replace(folder / "onnxruntime.json")
    times: collections.Counter[str] = collections.Counter()
    for event in json.loads(trace.read_text()):
        told = event.get("args", {})
        if event.get("cat") == "Node" and "op_name" in told and event["name"].endswith("_time"):
            times[f"{told['op_name']} ({told.get('provider', '?')})"] += event["dur"] / 1e6
    return dict(times)


def of_torch(
    config: RCANConfig, volume: torch.Tensor, suite: Suite, folder: Path
) -> dict[str, float]:
    """Return seconds per kernel (operator, without a GPU); keep the trace."""
    on_gpu = suite.device == "cuda"
    torch.manual_seed(0)
    network = RCAN(config).eval()
    work = torch_work(network, volume, suite.device, "fp16" if on_gpu else "fp32", compiled=False)
    work()
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=kinds) as recorded:
        for _ in range(_RUNS):
            work()
        if on_gpu:
            torch.cuda.synchronize()
    recorded.export_chrome_trace(str(folder / "torch.json"))
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return {event.key: getattr(event, attribute) / 1e6 for event in recorded.key_averages()}


def tell(title: str, times: dict[str, float]) -> None:
    """Print what takes most."""
    whole = float(np.sum(list(times.values())))
    print(f"\n{title}: {whole / _RUNS:.3f} s per run\n\n| what | share |\n|---|---:|")
    for what, seconds in sorted(times.items(), key=lambda item: -item[1])[:_SHOWN]:
        print(f"| `{what[:90]}` | {seconds / whole:.1%} |")


def main() -> None:
    """Profile both; print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on the processor")
    arguments = parser.parse_args()
    suite = TINY if arguments.tiny else FULL
    arguments.folder.mkdir(parents=True, exist_ok=True)
    config, shape = next(iter(suite.networks.values())), suite.volumes[0]
    volume = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    tell("ONNX Runtime", of_onnx_runtime(config, volume, suite, arguments.folder))
    tell("PyTorch", of_torch(config, volume, suite, arguments.folder))


if __name__ == "__main__":
    main()
