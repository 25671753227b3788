"""
scikit-learn: one import changed, in a pipeline
===============================================

A pipeline with cross-validation, computed by scikit-learn's regressor and by fastard's in its place. The predictions are the
same.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor as TheirRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastard.sklearn import GaussianProcessRegressor, explain

plt.style.use("tableau-colorblind10")

X, y = load_diabetes(return_X_y=True)
X, y = X[:160], y[:160]

kernel = 1.0 * RBF(np.full(10, 3.0), length_scale_bounds=(0.1, 100.0)) + WhiteKernel(0.5)
print(explain(kernel))

# %%
# Everything else stays: pipelines, ``clone``, grid searches, ``normalize_y``. scikit-learn warns of inputs whose length scale
# ends at its bound; so does fastard, in its name. They are what this kernel is meant to find.

import warnings  # noqa: E402

from sklearn.exceptions import ConvergenceWarning  # noqa: E402

warnings.simplefilter("ignore", ConvergenceWarning)

predicted = {}
for name, Regressor in {"scikit-learn": TheirRegressor, "fastard": GaussianProcessRegressor}.items():
    pipeline = make_pipeline(StandardScaler(), Regressor(kernel, normalize_y=True))
    predicted[name] = cross_val_predict(pipeline, X, y, cv=KFold(4, shuffle=True, random_state=0))
    print(f"{name:13} RMSE {np.sqrt(np.mean((predicted[name] - y) ** 2)):.3f}")

# %%
# The optimum is the same, so the predictions agree to what an optimiser leaves over:

print(f"largest difference: {abs(predicted['fastard'] - predicted['scikit-learn']).max():.2g}")

fig, ax = plt.subplots(figsize=(5.0, 4.6), layout="constrained")
ax.plot(y, predicted["scikit-learn"], "o", markersize=7, fillstyle="none", color="C1", label="scikit-learn")
ax.plot(y, predicted["fastard"], ".", markersize=5, color="C0", label="fastard")
ax.axline((150.0, 150.0), slope=1.0, color="C3", linewidth=1)
ax.set(xlabel="progression of the disease after a year", ylabel="predicted by cross-validation")
ax.legend(frameon=False)
plt.show()
