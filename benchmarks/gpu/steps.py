"""All that waits for an NVIDIA GPU, in steps of less than 10 minutes that need no network.

    python benchmarks/gpu/steps.py FOLDER [STEP ...] [--tiny]

Without a step: all of them, one after the other. Tables and JSON go into FOLDER as they come. The
Python at hand must have PyTorch, ``live-restore[cuda,export,test]`` and this clone; ``--tiny`` goes
the same way on the processor, with small networks and stacks, to see that it works.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_CLONE = _HERE.parents[1]


@dataclass(frozen=True)
class Step:
    """One of them.

    Parameters
    ----------
    name, decides
        What it is called, and what its numbers decide.
    minutes
        It is stopped after so many; what it had kept by then stays.
    full, tiny
        Arguments of Python, ``{folder}`` being the folder.
    """

    name: str
    decides: str
    minutes: float
    full: tuple[str, ...]
    tiny: tuple[str, ...]


def _script(name: str, minutes: float, decides: str) -> Step:
    # No row begins in the last minute: most take seconds, those that compile longer.
    command = (
        f"benchmarks/gpu/{name}.py", f"{{folder}}/{name}.json", "--minutes", f"{minutes - 1:g}"
    )  # fmt: skip
    return Step(name, decides, minutes, command, (*command, "--tiny", "--rounds", "1"))


STEPS = (
    _script("eager", 6, "the bar for every runtime; whether pinned memory is worth it"),
    _script("compiled", 9, "whether compiled kernels beat cuDNN"),
    _script("kernels", 5, "whether kernels of our own are worth going on with"),
    _script("loaded", 8, "whether the daemon should take them by itself"),
    Step(
        "profile", "what to attack first", 5,
        ("benchmarks/gpu/profile_networks.py", "{folder}/profile"),
        ("benchmarks/gpu/profile_networks.py", "{folder}/profile", "--tiny"),
    ),
    Step(
        "host", "which stage of the host to split first", 8,
        ("benchmarks/host.py", "--rounds", "1", "--json", "{folder}/host.json"),
        ("benchmarks/host.py", "--rounds", "1", "--json", "{folder}/host.json", "--rates", "0",
         "--stacks", "2", "--shape", "4,64,64"),
    ),
    Step(
        "doctor", "whether the card is found, and is right", 3,
        ("-m", "live_restore", "doctor", "--device", "cuda"),
        ("-m", "live_restore", "doctor", "--device", "cpu"),
    ),
    Step(
        # One after the other: each process would take its part of the card's memory.
        "tests", "whether float32 is float32", 9,
        ("-m", "pytest", "-q", "-rs", "-m", "gpu", "-n", "0", "tests/inference"),
        ("-m", "pytest", "-q", "-rs", "-k", "processor", "-n", "0", "tests/inference/test_gpu.py"),
    ),
    _script("grid", 9, "the options to use"),
    Step(
        "networks", "the share of the ceiling, of the paper's networks", 9,
        ("benchmarks/gpu/networks.py", "--rounds", "1", "--json", "{folder}/networks.json",
         "--minutes", "8"),
        ("benchmarks/gpu/networks.py", "--rounds", "1", "--json", "{folder}/networks.json",
         "--tiny"),
    ),
    Step(
        "pipeline", "the rate from file to file", 5,
        ("benchmarks/pipeline.py", "--stacks", "64"),
        ("benchmarks/pipeline.py", "--stacks", "2", "--shape", "8,64,64"),
    ),
    Step(
        "forms", "which form of network to train for hours", 9.5,
        ("benchmarks/equal_time.py", "{folder}/forms.json", "--minutes", "0.8", "--device", "cuda"),
        ("benchmarks/equal_time.py", "{folder}/forms.json", "--minutes", "0.01", "--batches", "2",
         "--only", "fast", "--only", "a second pass", "--kind", "crowd"),
    ),
)  # fmt: skip


def run(step: Step, folder: Path, *, tiny: bool) -> bool:
    """Run a step; print what it says, keep it, and return whether it went well."""
    print(f"\n== {step.name}: {step.decides}", flush=True)
    command = [part.format(folder=folder) for part in (step.tiny if tiny else step.full)]
    paths = os.pathsep.join(map(str, (_CLONE, _CLONE / "export")))
    with (folder / f"{step.name}.txt").open("w+") as kept:
        started = subprocess.Popen(
            [sys.executable, *command], cwd=_CLONE, stdout=kept, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": paths}, start_new_session=True,
        )  # fmt: skip
        try:
            done = started.wait(60 * step.minutes)
        except subprocess.TimeoutExpired:
            done = -1
            # With what it started: nothing may hold the card while the next step measures.
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            kept.seek(0, os.SEEK_END)
            kept.write(f"stopped after {step.minutes:g} minutes\n")
        kept.seek(0)
        print(kept.read(), flush=True)
    # pytest's 5: none was selected, as where there is no GPU.
    return done == 0 or (done == 5 and step.name == "tests")


def main() -> int:
    """Run the steps; return 1 where one failed."""
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "step", nargs="*", choices=[*names, []], metavar="STEP", help=", ".join(names)
    )
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on the processor")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [step for step in STEPS if not arguments.step or step.name in arguments.step]
    failed = [step.name for step in wanted if not run(step, folder, tiny=arguments.tiny)]
    print(f"failed: {', '.join(failed)}" if failed else "all steps went well")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
