"""What does OpenVINO really run? The executed graph of a model, by kind of node, with its time.

    python benchmarks/executed.py [--model fast] [--shape 16,256,256] [--precision bf16] [--nodes]

Per kind of node, of kernel and of precision: how many nodes, their share of the time, and which
operations of the model have been fused into them (bias, ReLU, sum of the skip). Reorders copy a
tensor into another layout or precision. Times are of OpenVINO's own counters, the median of rounds.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter, defaultdict
from typing import Any

from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.openvino import OpenVINO, _core
from live_restore.inference.backends.session import Shape5
from live_restore.inference.device.check import known_tile
from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.inference.load import find_model, load_model, model_bytes


def executed(request: Any) -> list[dict[str, Any]]:
    """Return the nodes of a compiled model, as OpenVINO describes them."""
    nodes = request.get_compiled_model().get_runtime_model().get_ordered_ops()
    return [
        {"name": node.get_friendly_name(), "inputs": [str(i.get_shape()) for i in node.inputs()]}
        | {key: str(node.rt_info[key].value) for key in _TOLD if key in node.rt_info}
        for node in nodes
    ]


_TOLD = ("layerType", "primitiveType", "runtimePrecision", "originalLayersNames", "outputLayouts")


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="fast")
    parser.add_argument("--shape", default="16,256,256", metavar="Z,Y,X")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", action="store_true", help="print each node, too")
    arguments = parser.parse_args()
    path = find_model(arguments.model)
    source = ModelSource.of(path, model_bytes(path))
    card = load_model(path, "cpu").card
    z, y, x = map(int, arguments.shape.split(","))
    shape: Shape5 = (1, card.input_channels, z, y, x)
    _core().set_property("CPU", {"PERF_COUNT": True})
    backend = OpenVINO("openvino", "CPU")
    request, device = backend._compiled(source, shape, arguments.precision, 0, Limits())
    tile = known_tile(shape, card)
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.rounds + 1):
        request.infer({0: tile})
        for found in request.get_profiling_info():
            taken[found.node_name].append(found.real_time.total_seconds())
    time_s = {name: statistics.median(each[1:]) for name, each in taken.items()}
    whole = sum(time_s.values())
    kinds: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for node in executed(request):
        kinds[tuple(node.get(key, "") for key in _TOLD[:3])].append(node)
        if arguments.nodes:
            print(f"{time_s.get(node['name'], 0.0) * 1e3:8.2f} ms", node)
    print(f"{cpu_name()}, {available_cores()} threads, {device.provider}, {arguments.model}, "
          f"{z} x {y} x {x}, {whole:.3f} s")  # fmt: skip
    print("| kind | kernel | precision | nodes | of the time | made of |")
    print("|---|---|---|---:|---:|---|")
    by_time = sorted(
        kinds.items(), key=lambda kind: -sum(time_s.get(n["name"], 0.0) for n in kind[1])
    )
    for kind, nodes in by_time:
        share = sum(time_s.get(node["name"], 0.0) for node in nodes) / whole
        counts = Counter(len(node.get("originalLayersNames", "").split(",")) for node in nodes)
        made = ", ".join(f"{times} of {parts}" for parts, times in sorted(counts.items()))
        print(f"| {' | '.join(kind)} | {len(nodes)} | {share:.1%} | {made} |")


if __name__ == "__main__":
    main()
