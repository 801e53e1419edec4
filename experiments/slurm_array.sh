#!/bin/bash
# Many trainings of one GPU each on a Slurm cluster, a task of an array each:
#     sbatch --array=0-2 experiments/slurm_array.sh --config experiments/configs/cifar100/resnet56-resnet20/TRG.yaml
# trains seeds 0 to 2, and
#     sbatch --array=0-19 experiments/slurm_array.sh experiments/sweeps/trg.yaml
# trials 0 to 19 of a sweep, without an account. Tasks may run at the same time, in one output folder: the teacher is
# trained by one of them, for which the others wait. Afterwards the table, without training anything again:
#     python experiments/run.py --config ... --seeds 0 1 2 --resume
#     python experiments/sweep.py experiments/sweeps/trg.yaml --count 20 --resume
# Five minutes before its time is over a task is saved and queued again, where it goes on.
#SBATCH --job-name=trg_pyg
#SBATCH --array=0-2
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
set -euo pipefail

task=$SLURM_ARRAY_TASK_ID
first=${1-}
if [[ "$first" == *.yaml ]]; then
    # As many trials as the array has, so that each task knows its own.
    work=(experiments/sweep.py "$@" --count "$((SLURM_ARRAY_TASK_MAX + 1))" --trial "$task")
else
    work=(experiments/run.py "$@" --seeds "$task" --table "runs/array-$SLURM_ARRAY_JOB_ID/seed$task.md")
fi

# The program saves and ends by itself when it is asked to stop; it then leaves with 75.
trap 'kill -TERM "$training"' USR1
.venv/bin/python "${work[@]}" --device cuda --resume &
training=$!

# A signal ends the first wait at once, so the exit code is that of the second.
code=0
wait "$training" || code=$?
while kill -0 "$training" 2>/dev/null; do
    code=0
    wait "$training" || code=$?
done
if [ "$code" = 75 ]; then
    echo "stopped before its time was over: queued again, to go on from its checkpoint"
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$task"
fi
exit "$code"
