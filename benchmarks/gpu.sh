#!/usr/bin/env bash
# The table of docs/speed.md for a machine with an NVIDIA GPU, from a fresh clone. Needs the driver
# and Python 3.11 or newer; pip brings everything else. Not run yet: nobody had such a machine.
#
#     benchmarks/gpu.sh [OUTPUT.json]
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-gpu.json}

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
python3 -m venv .venv-gpu
.venv-gpu/bin/pip install -q -e '.[cuda,export,test]'
.venv-gpu/bin/live-restore doctor --device cuda
.venv-gpu/bin/python -m pytest -q -m gpu || [ $? -eq 5 ] # 5: no test of that kind
.venv-gpu/bin/live-restore bench --device cuda --shape 32,512,512
.venv-gpu/bin/python benchmarks/gpu.py --json "$output"
