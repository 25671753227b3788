"""The measured tables of docs/performance.md: ``python -m benchmarks.readme_table``, on a machine that does nothing else."""

import json

from benchmarks import limits, peers
from benchmarks.report import describe_machine


def main():
    """The command line."""
    arguments = peers.parser(prog="python -m benchmarks.readme_table", description=__doc__).parse_args()
    machine = describe_machine()
    against_peers, figures = peers.table(arguments.sizes, peers.interpreters(arguments.environments), arguments.seconds)
    against_limits = limits.table(limits.SIZES, arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, **figures}, indent=1))
    print(f"\n{machine}\n\nOne evaluation, value and gradient, in ms (`benchmarks/peers.py`):\n\n{against_peers}")
    print(f"\nBeside what the machine can do (`benchmarks/limits.py`):\n\n{against_limits}")


if __name__ == "__main__":
    main()
