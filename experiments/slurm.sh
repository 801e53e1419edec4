#!/bin/bash
# A study on several machines of a Slurm cluster:
#     sbatch experiments/slurm.sh --config experiments/configs/imagenet/resnet34-resnet18/TRG.yaml
# Submitted again, it goes on from its last checkpoint. Set nodes, GPUs and cores to what the cluster has.
#SBATCH --job-name=trg_pyg
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun .venv/bin/torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
    experiments/run.py --device cuda --resume "$@"
