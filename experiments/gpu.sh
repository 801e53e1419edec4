#!/bin/bash
# What one GPU can show in calls of a few minutes: the tests that need it, the benchmarks, then the full recipe on
# CIFAR-100, as far as the time of each call goes. Called again, it goes on where it stopped.
#     bash experiments/gpu.sh runs/gpu --minutes 8.5 --data data/cifar100.tar.*
#     bash experiments/gpu.sh runs/gpu --device cpu --minutes 30 -- --train.epochs 2 --teacher.train.epochs 2
# The first argument is the folder of results. What follows -- are options of trg run.
#   --minutes M   after which a training is told to save and end (8.5)
#   --device D    cuda, or cpu to try the script (cuda)
#   --data F ...  archives, or parts of one, of an image folder with train/ and test/; without them the data are those of
#                 the configuration, which are downloaded
#   --wheels F    folder of wheels that are installed where the machine has no network
set -euo pipefail
cd "$(dirname "$0")/.."

results=${1:?the folder of results is missing}
shift
minutes=8.5 device=cuda wheels="" data=()
while [ $# -gt 0 ]; do
    case $1 in
    --minutes | --device | --wheels) declare "${1#--}=$2" && shift 2 ;;
    --data) shift && while [ $# -gt 0 ] && [[ $1 != --* ]]; do data+=("$1") && shift; done ;;
    --) shift && break ;;
    *) echo "gpu.sh: error: unknown option $1: --minutes, --device, --data or --wheels" >&2 && exit 2 ;;
    esac
done
seconds=$(awk "BEGIN {print int(60 * $minutes)}")
python=$(test -x .venv/bin/python && echo .venv/bin/python || command -v python3)
mkdir -p "$results"

left() { # seconds of this call, at least 1
    local now=$((seconds - SECONDS))
    echo $((now > 1 ? now : 1))
}
once() { # a step that is done once: its name, then its command
    local name=$1
    shift
    [ -e "$results/$name.done" ] && return
    timeout --signal=TERM --kill-after=30 "$(left)" "$@" >"$results/$name.log" 2>&1 || {
        echo "gpu.sh: $name ended with $? after $SECONDS s, see $results/$name.log" >&2
        tail -n 5 "$results/$name.log" >&2
        return 1
    }
    touch "$results/$name.done"
}

if [ -n "$wheels" ]; then
    once wheels "$python" -m pip install --no-index --no-deps "$wheels"/*.whl
fi
"$python" - "$device" >"$results/machine.txt" <<'END'
import sys, torch
print(torch.__version__, torch.cuda.get_device_name() if sys.argv[1] == "cuda" else "cpu")
END
if [ "$device" = cuda ]; then
    # What fails here is told, and does not keep the rest from being tried.
    once tests "$python" -m pytest -q -m gpu -p no:cacheprovider || true
    once benchmarks "$python" experiments/benchmarks/all.py --device cuda --output "$results/benchmarks" || true
fi
options=()
if [ ${#data[@]} -gt 0 ]; then
    once data sh -c 'folder=$1; shift; mkdir -p "$folder" && cat "$@" | tar -x -C "$folder"' sh "$results/data" "${data[@]}"
    root=$(dirname "$(find "$results/data" -maxdepth 2 -type d -name train | head -n 1)")
    options=(--data ImageFolder --data.root "$root")
fi
code=0
# The signal is for the training alone, not for compilers and decoders that it has started.
timeout --foreground --preserve-status --signal=TERM --kill-after=75 "$(left)" "$python" experiments/run.py \
    --config experiments/tables/cifar100-gpu.yaml "${options[@]}" --device "$device" \
    --output "$results" --table "$results/table.md" --resume "$@" || code=$?
# 137: it was not done with saving, and goes on from the checkpoint before.
[ "$code" != 137 ] || code=75
[ "$code" != 75 ] || echo "gpu.sh: the time of this call is over; the same command goes on"
exit "$code"
