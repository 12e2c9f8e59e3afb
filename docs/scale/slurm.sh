#!/bin/bash
# One training on four nodes of eight GPUs: sbatch docs/scale/slurm.sh. The same line begins it and goes on with it.
#SBATCH --job-name=unspool
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
# Five minutes before the end this script is told (USR1), and asks every process to save and leave; so does a preemption (TERM).
set -euo pipefail

RUN=${RUN:-runs/wide}
DATA=${DATA:?give DATA, a folder that every node sees}
RECIPE=${RECIPE:-frame-by-frame}
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

RESUME=()
if [ -e "$RUN/checkpoints/last" ]; then RESUME=(--resume latest); fi

# torchrun does not pass SIGUSR1 on; pkill reaches its workers, on every node.
trap 'srun --overlap --ntasks-per-node=1 pkill -USR1 -f "unspool train" || true; wait' USR1

srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d \
  --rdzv-endpoint "$HEAD:29500" -m unspool train "$RECIPE" --data "$DATA" --out "$RUN" --train.shard "${RESUME[@]}" &
wait
