"""Drop-in replacement for scikit-learn's Gaussian process regressor, computed by fastard.

Change ``from sklearn.gaussian_process import GaussianProcessRegressor`` to ``from fastard.sklearn import ...``, or call
:func:`patch` where other code imports scikit-learn's class itself.
"""

from fastard.sklearn.patching import patch, patched, unpatch
from fastard.sklearn.recognition import explain
from fastard.sklearn.regressor import GaussianProcessRegressor

__all__ = ["GaussianProcessRegressor", "explain", "patch", "patched", "unpatch"]

GaussianProcessRegressor.__module__ = __name__  # where pickles find it
