"""Measure how fast this machine is fed, trains and detects, and what that costs, beside what people do today.

    python references/benchmark.py data ../shared/data/coco-mini/train2017
    python references/benchmark.py memory
    python references/benchmark.py train-step
    python references/benchmark.py import
    python references/benchmark.py inference --against torchvision
    python references/benchmark.py members
    python references/benchmark.py postprocess

Each subject is a module beside this file, with its options and its one measurement. With --card it keeps the numbers
for MODEL_ZOO.md, such as references/cards/speed/NAME.json, with machine and versions.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import benchmark_data
import benchmark_import
import benchmark_inference
import benchmark_members
import benchmark_memory
import benchmark_postprocess
import benchmark_train_step

SUBJECTS = {
    "data": benchmark_data,
    "memory": benchmark_memory,
    "train-step": benchmark_train_step,
    "import": benchmark_import,
    "inference": benchmark_inference,
    "members": benchmark_members,
    "postprocess": benchmark_postprocess,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subjects = parser.add_subparsers(dest="subject", required=True)
    for name, module in SUBJECTS.items():
        summary = module.__doc__.splitlines()[0]
        subject = subjects.add_parser(name, help=summary, description=summary)
        module.add_options(subject)
        subject.add_argument(
            "--card", type=Path, metavar="FILE", help="a card of the numbers, from which MODEL_ZOO.md is made"
        )
    options = parser.parse_args(arguments)
    try:
        SUBJECTS[options.subject].measure(options)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
