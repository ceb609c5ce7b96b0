#!/bin/bash
# Many nodes in one job: a Dask scheduler, a worker for each card of every node, and saeattr, which hands out the work.
#   sbatch --nodes=4 scripts/slurm/many_nodes.sh --topic all --model gemma-2-2b-it --dtype bfloat16 --out runs/all
# The folder of --out, the models and this directory lie in a file system that all nodes share.
#SBATCH --job-name=saeattr
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=8G
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

PYTHON=${PYTHON:-python}
# What starts the workers: srun, one for each task of the job; without Slurm so many processes here.
LAUNCH=${LAUNCH-srun --kill-on-bad-exit=0}
WITHOUT_SLURM=${WITHOUT_SLURM:-1}
JOB=${SLURM_JOB_ID:-$$}
FOLDER=$(mktemp -d "$PWD/.saeattr-dask-$JOB-XXXXXX")
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}

cleanup() {
    kill "${PIDS[@]}" 2>/dev/null || true
    wait "${PIDS[@]}" 2>/dev/null || true
    rm -rf "$FOLDER"
}
PIDS=()
trap cleanup EXIT

# It writes its address into a file that the workers and saeattr read.
"$PYTHON" -m distributed.cli.dask_scheduler --scheduler-file "$FOLDER/scheduler.json" --port 0 &
PIDS+=($!)
for _ in $(seq 120); do
    [ -s "$FOLDER/scheduler.json" ] && break
    sleep 0.5
done
# One piece at a time each; no limit of memory, because the plan of memory is the study's.
WORKER=("$PYTHON" -m distributed.cli.dask_worker --scheduler-file "$FOLDER/scheduler.json" --nthreads 1
    --memory-limit 0 --no-dashboard --death-timeout 600)
if [ -n "$LAUNCH" ]; then
    $LAUNCH "${WORKER[@]}" &
    PIDS+=($!)
else
    for _ in $(seq "$WITHOUT_SLURM"); do
        "${WORKER[@]}" &
        PIDS+=($!)
    done
fi
ADDRESS=$("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$FOLDER/scheduler.json")

"$PYTHON" -m saeattr attribute --scheduler "$ADDRESS" "$@"
