"""What a user waits for once: the import, and the first call with and without compiled code on disk."""

import tempfile

from benchmarks.children import output_of
from benchmarks.implementations import fastard
from benchmarks.problems import make_problem
from benchmarks.timing import repeats

_ADDED_TO_NUMBA = """
import time, numba
start = time.perf_counter()
import fastard
print(time.perf_counter() - start)
"""

_FIRST_CALLS = """
import time, numpy as np, fastard
X = np.random.default_rng(0).standard_normal((50, 3))
for kernel in {kernels}:
    start = time.perf_counter()
    fastard.log_marginal_likelihood(X, X[:, 0], length_scale=np.ones(3), kernel=kernel, eval_gradient=True)
    print(time.perf_counter() - start)
"""

_FIRST_MODEL = """
import time, numpy as np, fastard
X = np.random.default_rng(0).standard_normal((50, 3))
fastard.log_marginal_likelihood(X, X[:, 0], length_scale=np.ones(3), eval_gradient=True)
start = time.perf_counter()
model = fastard.fit(X, X[:, 0] + 0.1 * X[:, 1] ** 2)
print(time.perf_counter() - start)
start = time.perf_counter()
model.predict(X, return_std=True)
print(time.perf_counter() - start)
"""


class Import:
    """Importing fastard beside importing Numba, which it cannot do without."""

    def timeraw_import_fastard(self):
        return "import fastard"

    def timeraw_import_numba(self):
        return "import numba"

    def track_import_added_to_numba(self):
        return min(float(output_of(_ADDED_TO_NUMBA)) for _ in range(repeats(5)))

    track_import_added_to_numba.unit = "seconds"


class FirstCall:
    """The first value and gradient of a process, import not counted."""

    timeout = 300
    unit = "seconds"

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()

    def teardown(self):
        self.folder.cleanup()

    def first_calls(self, *kernels):
        """Seconds of each kernel's first call in one new process whose compiled code lies in our folder."""
        printed = output_of(_FIRST_CALLS.format(kernels=kernels), NUMBA_CACHE_DIR=self.folder.name)
        return [float(line) for line in printed.split()]

    def track_cold(self):
        return self.first_calls("rbf")[0]

    def track_cached(self):
        self.first_calls("rbf")
        return min(self.first_calls("rbf")[0] for _ in range(3))

    def track_second_kernel_cold(self):
        return self.first_calls("rbf", "matern52")[1]

    def track_second_kernel_cached(self):
        self.first_calls("rbf", "matern52")
        return min(self.first_calls("rbf", "matern52")[1] for _ in range(3))

    def track_fit_after_that_cold(self):
        return self.first_model()[0]

    def track_predict_after_that_cold(self):
        return self.first_model()[1]

    def track_fit_after_that_cached(self):
        self.first_model()
        return min(self.first_model()[0] for _ in range(3))

    def first_model(self):
        """Seconds of the first fit and the first prediction of a process that has had the first value and gradient."""
        return [float(line) for line in output_of(_FIRST_MODEL, NUMBA_CACHE_DIR=self.folder.name).split()]


class LaterCall:
    """What is not computing: validation, allocation and Python around a problem of two points."""

    timeout = 300

    def setup(self):
        self.evaluate = fastard(make_problem(2, 5))
        self.evaluate()

    def time_two_points(self):
        self.evaluate()
