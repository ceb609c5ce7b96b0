#!/bin/bash
# One node with several cards: a worker for each card, started and stopped by saeattr.
#   sbatch scripts/slurm/one_node.sh --topic all --model gemma-2-2b-it --out runs/all
#SBATCH --job-name=saeattr
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --mem=256G
#SBATCH --time=24:00:00
# A job that is ended early goes on where it was when it is submitted again.
#SBATCH --requeue
set -euo pipefail

# Cards of this job, or processes without any: WORKERS=4 sbatch ...
WORKERS=${WORKERS:-${SLURM_GPUS_ON_NODE:-2}}
PYTHON=${PYTHON:-python}

exec "$PYTHON" -m saeattr attribute --workers "$WORKERS" "$@"
