#!/usr/bin/env bash
# One call on a machine with a GPU: check the engine, make the most valuable runs within a time budget, pack the records.
#
# usage: benchmarks/gpu.sh DATA OUT [MINUTES]
#   DATA     folder with cifar100.npz (and imagenet20/, weights/ for the ImageNet half)
#   OUT      folder for the archive of records, the small networks and the benchmark files
#   MINUTES  for the queue (default 8); the same call again goes on where this one ended
# Set JOBS (processes that share the GPU, default 4), PROFILE (default paper), DEVICE (default cuda), TARGETS (default:
# the CIFAR-100 half), DCLIB_RESULTS (default ~/dclib-results), NETWORK and ITERATIONS (of the check) to change them.
set -euo pipefail
cd "$(dirname "$0")/.."

export DCLIB_DATA=$1 DCLIB_RESULTS=${DCLIB_RESULTS:-$HOME/dclib-results}
out=$2 minutes=${3:-8} device=${DEVICE:-cuda} profile=${PROFILE:-paper}
precision=$([ "$device" = cpu ] && echo float32 || echo bfloat16)
mkdir -p "$out"

if [ ! -e "$DCLIB_RESULTS/checked" ]; then
  echo "Checking that every kind of run works on $device."
  DCLIB_RESULTS=$(mktemp -d) python3 -m dclib run table3 figure4 --profile smoke --device "$device" --quiet
  python3 -m benchmarks.training --device "$device" --precision "$precision" --iterations "${ITERATIONS:-20}" --networks "${NETWORK:-96}"
  mkdir -p "$DCLIB_RESULTS" && touch "$DCLIB_RESULTS/checked"
fi

# shellcheck disable=SC2086 # several targets
python3 -m dclib run ${TARGETS:-} --profile "$profile" --device "$device" --jobs "${JOBS:-4}" --time-budget "${minutes}m" || true
python3 -m dclib list --profile "$profile"

python3 -m dclib results export "$out/records.zip" --weights none
cp benchmarks/results/*.json "$out"
python3 - "$out" "$profile" <<'PYTHON'
"""The networks of data/weights in half precision, where they are made."""
import sys

from safetensors.torch import load_file, save_file

from dclib.experiments import baseline, method_run, profile
from dclib.results import Store

out, p, store = sys.argv[1], profile(sys.argv[2]), Store()
wanted = [baseline(p)] + [method_run(p, m, d) for d in ("blur", "awgn") for m in ("Finetune-9", "Deepcorr-6", "Deepcorr-6c")]
for run in wanted:
    path = store.weights(run)
    if path.exists():
        half = {k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}
        save_file(half, f"{out}/{run.id}.safetensors")
PYTHON
ls -l "$out"
