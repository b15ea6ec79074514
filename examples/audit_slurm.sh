#!/bin/sh
# An audit as arrays of Slurm jobs: one array per stage of its plan, each after the one before it.
# Run it where models, task files and the report folder have the same paths on every node.
#
#     sh audit_slurm.sh REPORT_DIR PROTECTED --original MODEL --base BASE ...      (what follows `mergebarrier audit`)
set -eu
report=$1
shift
mergebarrier audit "$@" -o "$report" --plan-only --threads 4 --json > "$report.plan.json"
plan=$report/work/plan.json
after=
for tasks in $(python3 -c 'import json, sys; [print(*stage, sep=",") for stage in json.load(sys.stdin)["stages"]]' \
    < "$report.plan.json"); do
    job=$(sbatch --parsable --array="$tasks" --cpus-per-task=4 ${after:+--dependency=afterok:$after} \
        --wrap "mergebarrier worker --plan '$plan' --task \$SLURM_ARRAY_TASK_ID")
    after=$job
done
echo "when job $after is done: mergebarrier audit ... -o $report --resume"
