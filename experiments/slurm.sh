#!/bin/bash
# A study on several machines of a Slurm cluster:
#     sbatch experiments/slurm.sh --config experiments/configs/imagenet/resnet34-resnet18/TRG.yaml
# Five minutes before its time is over the training is saved and the job queued again, where it goes on. Submitted again
# by hand it goes on as well. Set nodes, GPUs and cores to what the cluster has.
#SBATCH --job-name=trg_pyg
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
set -euo pipefail

# torchrun dies of SIGUSR1 without a word to its processes; SIGTERM it hands on, and waits for them.
stopped=""
trap 'stopped=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1

# No pipe to head: with pipefail, scontrol would fail wherever head had gone before it wrote the last name.
names=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${names%%$'\n'*}
srun .venv/bin/torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
    experiments/run.py --device cuda --resume "$@" &
training=$!

# A signal ends the first wait at once, so the exit code is that of the second; a process is waited for in the
# background, since bash runs traps between commands only.
code=0
wait "$training" || code=$?
if [ -n "$stopped" ]; then
    wait "$training" || true
    echo "stopped before its time was over: queued again, to go on from its checkpoint"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
