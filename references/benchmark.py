"""Measure how fast this machine is fed and trains, and what that costs, beside what people do today.

    python references/benchmark.py data ../shared/data/coco-mini/train2017
    python references/benchmark.py memory
    python references/benchmark.py train-step
    python references/benchmark.py import

Each subject is a module beside this file, with its options and its one measurement.
"""

import argparse
from collections.abc import Sequence

import benchmark_data
import benchmark_import
import benchmark_memory
import benchmark_train_step

SUBJECTS = {
    "data": benchmark_data,
    "memory": benchmark_memory,
    "train-step": benchmark_train_step,
    "import": benchmark_import,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subjects = parser.add_subparsers(dest="subject", required=True)
    for name, module in SUBJECTS.items():
        summary = module.__doc__.splitlines()[0]
        module.add_options(subjects.add_parser(name, help=summary, description=summary))
    options = parser.parse_args(arguments)
    try:
        SUBJECTS[options.subject].measure(options)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
