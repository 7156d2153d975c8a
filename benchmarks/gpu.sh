#!/usr/bin/env bash
# One call on a machine with a GPU: check the engine, make the most valuable runs within a time budget, pack what came of it.
#
# usage: benchmarks/gpu.sh DATA OUT [MINUTES]
#   DATA     folder with cifar100.npz (and imagenet20/, weights/ for the ImageNet half)
#   OUT      folder for records.zip, networks-*.part and the benchmark files
#   MINUTES  for the queue (default 8); the same call again goes on where this one ended
# Set TARGETS, METHODS and SEEDS for what is made (default: Tables 3 and 4, Figures 4 and 5 with the first seed, the rows
# that carry the paper's claims first), JOBS (processes that share the GPU, default 4), PROFILE (default paper), DEVICE
# (default cuda), DCLIB_RESULTS (default ~/dclib-results), NETWORK and ITERATIONS (of the check) to change them.
# At home: dclib results import records.zip; cat networks-*.part | tar x -C data/results
set -euo pipefail
cd "$(dirname "$0")/.."

export DCLIB_DATA=$1 DCLIB_RESULTS=${DCLIB_RESULTS:-$HOME/dclib-results}
out=$2 minutes=${3:-8} device=${DEVICE:-cuda} profile=${PROFILE:-paper}
precision=$([ "$device" = cpu ] && echo float32 || echo bfloat16)
read -ra targets <<<"${TARGETS:-table3 table4 figure4 figure5}"
# shellcheck disable=SC2206 # several seeds
seeds=(${SEEDS:-0})
IFS=, read -ra methods <<<"${METHODS-Baseline,Finetune-9,Deepcorr-6,Figures 4 and 5,Deepcorr-1,Finetune-1,Deepcorr-6c}"
mkdir -p "$out"

if [ ! -e "$DCLIB_RESULTS/checked" ]; then
  echo "Checking that every kind of run works on $device."
  DCLIB_RESULTS=$(mktemp -d) python3 -m dclib run table3 figure4 --profile smoke --device "$device" --quiet
  python3 -m benchmarks.training --device "$device" --precision "$precision" --iterations "${ITERATIONS:-20}" --networks "${NETWORK:-96}"
  mkdir -p "$DCLIB_RESULTS" && touch "$DCLIB_RESULTS/checked"
fi

python3 -m dclib run "${targets[@]}" --seeds "${seeds[@]}" ${methods:+--methods "${methods[@]}"} --profile "$profile" \
  --device "$device" --jobs "${JOBS:-4}" --time-budget "${minutes}m" || true
python3 -m dclib list --profile "$profile"

python3 -m dclib results export "$out/records.zip" --weights none
cp benchmarks/results/training-*.json "$out"
# What the next call goes on from, oldest first: baselines, then other networks and checkpoints, as far as 58 MB reach.
find "$DCLIB_RESULTS" -name '*.safetensors' -printf '%T@ %s %P\n' | sort -n | awk '(sum += $2) < 58e6 {print $3}' |
  tar c -C "$DCLIB_RESULTS" --files-from=- | split --bytes=15M --numeric-suffixes --additional-suffix=.part - "$out/networks-"
ls -l "$out"
