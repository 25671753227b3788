"""Memory beside the data: one evaluation should hold one n x n buffer and little else."""

import re
from pathlib import Path

from benchmarks.implementations import fastard
from benchmarks.problems import make_problem

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _resident(field):
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", _STATUS.read_text())[1])


class Memory:
    """The peak while fastard builds its objective and evaluates, less what the process held before, over 8 n^2 bytes.

    asv's peakmem would count the compiler too, which in a process that compiles takes more than these problems.
    """

    params = ([(1000, 10), (2000, 40), (6000, 40)],)
    param_names = ("(n, d)",)
    timeout = 300
    unit = "n x n buffers"

    def setup(self, size):
        if not _CLEAR.exists():
            raise NotImplementedError("the peak can be reset on Linux only")
        fastard(make_problem(300, size[1]))()  # compiled, and the threads started

    def track_peak_over_one_buffer(self, size):
        n = size[0]
        problem = make_problem(*size)
        _CLEAR.write_text("5")  # the high-water mark down to what is held now: man 5 proc
        before = _resident("VmRSS")
        fastard(problem)()
        return (_resident("VmHWM") - before) / (8 * n * n)
