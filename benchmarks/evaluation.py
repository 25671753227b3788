"""One evaluation, value and gradient: each implementation's time and memory, and fastard's speed over plain NumPy."""

from benchmarks.implementations import IMPLEMENTATIONS, fastard, largest_array
from benchmarks.problems import make_problem
from benchmarks.timing import Contestant, ratio_of_best

_LARGEST = 2**30  # bytes: the n x n x d implementations stop at 1 GiB an array, of which they hold several


class Evaluation:
    """Every implementation on the same problems; nothing is shared between the processes, see Speedup for ratios."""

    params = (list(IMPLEMENTATIONS), [100, 300, 1000, 2000], [5, 20, 50], ["rbf", "matern52", "rational_quadratic"])
    param_names = ("implementation", "n", "d", "kernel")
    timeout = 300

    def setup(self, implementation, n, d, kernel):
        if largest_array(implementation, n, d) > _LARGEST:
            raise NotImplementedError("takes too much memory")
        if kernel != "rbf" and d != 20:
            raise NotImplementedError("the kernels differ only in O(n^2): one d shows it")
        build = IMPLEMENTATIONS[implementation]
        build(make_problem(8, d, kernel))()  # compile on a problem that adds nothing to the peak of memory
        self.evaluate = build(make_problem(n, d, kernel))

    def time_evaluation(self, implementation, n, d, kernel):
        self.evaluate()

    def peakmem_evaluation(self, implementation, n, d, kernel):
        self.evaluate()

    def peakmem_reference(self, implementation, n, d, kernel):
        """Nothing: what the process holds anyway, setup included, and what peakmem_evaluation is to be compared with."""


class Speedup:
    """How many times faster fastard is than plain NumPy, both in one process, in turns."""

    params = (["numpy-all-dimensions", "numpy-by-dimension"], [(100, 5), (300, 5), (1000, 10), (1000, 50), (2000, 20)])
    param_names = ("baseline", "(n, d)")
    timeout = 300
    unit = "times faster"

    def track_speedup_over_numpy(self, baseline, size):
        problem = make_problem(*size)
        ours, theirs = Contestant(fastard(problem)), Contestant(IMPLEMENTATIONS[baseline](problem))
        return ratio_of_best(theirs, ours, size[0])
