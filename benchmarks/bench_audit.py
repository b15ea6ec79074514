"""How long an audit takes, and how well it forecasts that: levels 0 to 4, six merges, the default grid, SmolLM2.

The command line's own audit of the expert protected by ``exact``, as a child whose progress file is read every half
second: seconds of every part, by the clock and of the processor, and the forecast as it stood after the first minute of
measuring beside what it came to.  A run that was stopped goes on; its seconds are kept with its rows.  ``--threads=N``
gives the numeric libraries as many threads, without it every core.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import mergebarrier as mb
from _keep import say
from mergebarrier import zoo
from mergebarrier.keys import Key

WORK = Path(tempfile.gettempdir()) / "mergebarrier-audit-time"
MINUTE, TARGET, WITHIN = 60.0, 15 * 60.0, 2.0


@dataclass
class Taken:
    """Seconds by part, of the clock and of the processor; the forecast of the first minute; starts."""

    parts: dict[str, list[float]] = field(default_factory=dict)
    said: float = 0.0
    runs: int = 0

    @property
    def total(self) -> list[float]:
        """Seconds of all parts."""
        return [sum(side) for side in zip(*self.parts.values(), strict=True)]


def processor_seconds(process: int) -> float:
    """Return what a process has used, on Linux; a process that has ended has used nothing more."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def words_of(threads: list[str]) -> list[str]:
    """Return the command, its protected model made."""
    assets, protected = zoo.demo_assets(), WORK / "protected"
    if not protected.exists():
        mb.protect(assets.expert_a, protected, method=mb.Exact(), key=Key(bytes([1]) * 32))
    named = {"--original": assets.expert_a, "--base": assets.base, "--partner": assets.expert_b,
             "--task": assets.task_a.test, "--partner-task": assets.task_b.test,
             "--validation": assets.task_a.val, "--partner-validation": assets.task_b.val}  # fmt: skip
    given = [str(word) for pair in named.items() for word in pair]
    out = ["-o", str(WORK / "report"), *(["--resume"] if (WORK / "report").exists() else [])]
    return [sys.executable, "-m", "mergebarrier", "audit", str(protected), *given, "--levels", "0-4", *threads, *out]


def follow(words: list[str], taken: Taken, keep: Path) -> int:
    """Run the audit and book its seconds to the parts that its progress names; return its exit code."""
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    progress, part, before = WORK / "report" / "work" / "progress.json", "start", [time.perf_counter(), 0.0]
    taken.runs += 1
    while child.poll() is None:
        time.sleep(0.5)
        now = [time.perf_counter(), max(before[1], processor_seconds(child.pid))]
        until = taken.parts.get(part, [0.0, 0.0])
        taken.parts[part] = [sum(sides) for sides in zip(until, now, [-b for b in before], strict=True)]
        before = now
        if progress.exists():
            found = json.loads(progress.read_text())
            part = found["part"].partition(",")[0] or part
            if not taken.said and found["seconds"] >= MINUTE and found["left_seconds"] is not None:
                taken.said = taken.total[0] + found["left_seconds"]
                say(f"forecast after {found['seconds']:.0f} s: {taken.said:.0f} s in all")
        keep.write_text(json.dumps(asdict(taken)))
    return child.returncode


def main() -> int:
    """Print the table."""
    keep = WORK / "seconds.json"
    WORK.mkdir(parents=True, exist_ok=True)
    taken = Taken(**json.loads(keep.read_text())) if keep.exists() else Taken()
    threads = [word for option in sys.argv[1:] for word in option.split("=")]
    if not (WORK / "report" / "result.json").exists() and follow(words_of(threads), taken, keep):
        return 1
    result = json.loads((WORK / "report" / "result.json").read_text())
    clock, used = taken.total
    print(f"Levels 0 to 4 of `exact` on SmolLM2-135M, default grid and budgets, {result['environment']['threads']} "
          f"threads, {result['environment']['dtype']}, in {taken.runs} run(s); grade {result['grade']}.\n")  # fmt: skip
    print("| part | clock, s | processor, s |\n|---|---|---|")
    for part, (seconds, processor) in taken.parts.items():
        print(f"| {part} | {seconds:.0f} | {processor:.0f} |")
    print(f"| all | {clock:.0f} | {used:.0f} |\n")
    print("| what | seconds | asked for |\n|---|---|---|")
    print(f"| the audit | {clock:.0f} | at most {TARGET:.0f} on two cores |")
    apart = max(taken.said / clock, clock / taken.said) if taken.said else float("inf")
    print(
        f"| the same, forecast after the first minute | {taken.said:.0f}, {apart:.2f} x apart | at most {WITHIN:g} x |"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
