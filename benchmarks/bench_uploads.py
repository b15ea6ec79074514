"""What a platform gets from a scan of its uploads: who sees what, beside three other scanners, and what fifty cost.

The uploads are those of ``tests/helpers/hostile_uploads.py``: honest ones, and twenty that each hide something else.
The other scanners run as their own commands in an environment of their own, which is made on the first run below the
cache folder (half a gigabyte), or is that of ``MERGEBARRIER_PEERS``, a folder of a virtual environment.  Exit codes are
taken as all four mean them: 1 seen, 0 not seen; anything else was not looked at.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import mergebarrier as mb
from _keep import say
from hostile_uploads import MORE, TEN, honest, write_uploads
from peer_environment import cache_folder

PEERS = {"modelscan": "0.8.8", "picklescan": "1.0.5", "modelaudit": "0.2.54"}
N_UPLOADS = 50
_SAID = {0: "-", 1: "seen"}
_QUIET = {"NO_ANALYTICS": "1", "PROMPTFOO_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}


def environment() -> Path:
    """Return the programs of the other scanners, installed on the first call."""
    asked = os.environ.get("MERGEBARRIER_PEERS")
    place = Path(asked) if asked else cache_folder() / "peers" / "scanners"
    if not place.is_dir():
        say("installing the other scanners")
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pinned = [f"{name}=={version}" for name, version in PEERS.items()]
        subprocess.run([str(place / "bin" / "pip"), "install", "--quiet", *pinned], check=True, stdout=sys.stderr)
    return place / "bin"


def commands(programs: Path, upload: Path) -> dict[str, list[str]]:
    """Return how each scanner is asked about a folder."""
    return {
        "modelscan": [str(programs / "modelscan"), "scan", "-p", str(upload)],
        "picklescan": [str(programs / "picklescan"), "-p", str(upload)],
        "modelaudit": [str(programs / "modelaudit"), "scan", str(upload), "--no-cache", "--strict"],
    }


def asked(command: list[str]) -> tuple[str, float]:
    """Run another scanner; return what it says and the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, capture_output=True, env={**os.environ, **_QUIET}, timeout=600, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _SAID.get(ran.returncode, f"exit {ran.returncode}"), taken


def ours(upload: Path, base: Path | None = None) -> str:
    """Return what our scan says of one upload, by its exit code, and the rules."""
    report = mb.scan([upload], base=base, fail_on="medium")
    rules = ", ".join(dict.fromkeys(one.rule for one in report.failing or report.unseen))
    return f"{_SAID.get(report.exit_code, f'exit {report.exit_code}')} {rules}".strip()


def who_sees_what(folder: Path, programs: Path) -> None:
    """Print the table of ways to hide something, one upload each, and what honest uploads get."""
    base = honest(folder / "base", 0)
    print("## Who sees what\n")
    print("An upload each; `seen` is exit code 1, `-` is 0. Ours fails from medium on, with the base beside it.\n")
    print(f"| what is hidden | ours | {' | '.join(f'{name} {version}' for name, version in PEERS.items())} |")
    print("|---|---|" + "---|" * len(PEERS))
    seen = dict.fromkeys(("ours", *PEERS), 0)
    taken = dict.fromkeys(PEERS, 0.0)
    ways: list[Callable[[Path], None] | None] = [*TEN, *MORE, None]
    for number, way in enumerate(ways):
        name = "nothing (honest)" if way is None else way.__name__.replace("_", " ")
        say(name)
        upload = honest(folder / f"upload-{number:02}", number + 1)
        if way is not None:
            way(upload)
        said = {"ours": ours(upload, base)}
        for peer, command in commands(programs, upload).items():
            said[peer], seconds = asked(command)
            taken[peer] += seconds
        for one, words in said.items():
            seen[one] += way is not None and words.startswith("seen")
        print(f"| {name} | {' | '.join(said.values())} |")
    total = len(ways) - 1
    print(f"| **seen of {total}** | {' | '.join(f'**{seen[one]}**' for one in seen)} |")
    costs = " | ".join(f"{taken[peer] / len(ways):.2f} s" for peer in PEERS)
    print(f"| processor time an upload, start of the program included | (below) | {costs} |")


def fifty(folder: Path) -> None:
    """Print what fifty uploads cost, ten of them hostile, and whether memory grows."""
    write_uploads(folder / "uploads", N_UPLOADS)
    mb.scan([folder / "uploads" / "honest-00"])
    peaks, started = [], time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)

    def progress(done: int, total: int) -> None:
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    report = mb.scan([folder / "uploads"], each=True, progress=progress)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = time.process_time() - started
    pickles = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    failing = {one.model for one in report.failing}
    print("\n## Fifty uploads, ten of them hostile\n")
    print("| figure | value |\n|---|---|")
    print(f"| uploads judged | {N_UPLOADS - len({one.model for one in report.unseen})} of {N_UPLOADS} |")
    print(f"| hostile uploads that fail | {len([name for name in failing if name.startswith('hostile')])} of 10 |")
    print(f"| honest uploads that fail | {len([name for name in failing if name.startswith('honest')])} of 40 |")
    print(f"| exit code | {report.exit_code} |")
    print(f"| processor time an upload | {1000 * taken / N_UPLOADS:.0f} ms |")
    print(f"| of picklescan, an upload with a pickle | {1000 * pickles / 2:.0f} ms |")
    print(f"| peak of memory after the 5th and after the last | {peaks[4]:.0f} and {peaks[-1]:.0f} MiB |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        who_sees_what(Path(made), environment())
        fifty(Path(made))
