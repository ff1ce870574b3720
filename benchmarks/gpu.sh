#!/usr/bin/env bash
# Everything that docs/explanation/speed.md lacks for want of an NVIDIA GPU, by one command from a
# fresh clone. Needs the driver and Python 3.11 or newer; pip brings everything else. Parts of it
# have run on a GPU, the whole on a processor only (--tiny).
#
#     benchmarks/gpu.sh [FOLDER]           # tables, JSON and profiles go into FOLDER (default: gpu)
#     benchmarks/gpu.sh --tiny [FOLDER]    # a rehearsal on the processor, in the Python at hand
set -euo pipefail
cd "$(dirname "$0")/.."
tiny=()
if [ "${1:-}" = --tiny ]; then
    tiny=(--tiny)
    shift
fi
folder=${1:-gpu}
mkdir -p "$folder"
exec > >(tee "$folder/all.txt") 2>&1

if [ ${#tiny[@]} -gt 0 ]; then
    python=${PYTHON:-python3} device=cpu shape=8,64,64 stacks=2
else
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
    python3 -m venv .venv-gpu
    python=.venv-gpu/bin/python device=cuda shape=32,512,512 stacks=64
    "$python" -m pip install -q -e '.[cuda,export,test]'
    # Its rows say why they are empty where this fails: it must be the version ONNX Runtime wants.
    "$python" -m pip install -q "tensorrt-cu13<11" || echo "TensorRT could not be installed"
fi
export PYTHONPATH=$PWD

echo "== doctor";            "$python" -m live_restore doctor --device "$device"
echo "== tests";             "$python" -m pytest -q -m gpu
echo "== bench"
for model in fast standard; do
    "$python" -m live_restore bench --model "$model" --device "$device" --shape "$shape"
    "$python" -m live_restore bench --model "$model" --device "$device" --shape "$shape" \
        --json > "$folder/bench-$model.json"
done
echo "== networks of the paper"
"$python" benchmarks/gpu.py --json "$folder/gpu.json" "${tiny[@]}"
echo "== profile";           "$python" benchmarks/gpu_profile.py "$folder/profile" "${tiny[@]}"
echo "== pipeline"
"$python" benchmarks/pipeline.py --stacks "$stacks" --shape "$shape"
