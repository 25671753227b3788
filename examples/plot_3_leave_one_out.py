"""
Check a model: leave-one-out
============================

Every target is predicted from all others, for the price of one inverse. What stands out is worth a look: here three
measurements with the decimal point misplaced.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastard

plt.style.use("tableau-colorblind10")

rng = np.random.default_rng(1)
X = rng.uniform(size=(150, 3))
y = 10.0 + np.sin(5.0 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * rng.standard_normal(150)
wrong = np.array([20, 75, 130])
y[wrong] += [1.5, -1.2, 1.8]

model = fastard.fit(X, y, kernel="matern52")
loo = model.loo()
suspects = np.flatnonzero(abs(loo.standardized_residuals) > 3.0)
print("suspects:", suspects)

# %%
# ``plot_loo`` draws every target against its prediction by the others. The suspects lie off the line by more than their
# error bars.

fig, ax = plt.subplots(figsize=(5.6, 5.0), layout="constrained")
model.plot_loo(ax)
ax.plot(y[suspects], loo.mean[suspects], "o", markersize=12, fillstyle="none", color="C5", markeredgewidth=1.5)
plt.show()

# %%
# Without them the noise that the model finds is the one that the data were made with, 0.1, and the density of
# the other targets is higher.

good = np.setdiff1d(np.arange(150), suspects)
clean = fastard.fit(X[good], y[good], kernel="matern52")
residuals = {"all targets": loo.standardized_residuals, "without the suspects": clean.loo().standardized_residuals}
print(f"noise: {np.sqrt(model.noise_variance):.3f} with the suspects, {np.sqrt(clean.noise_variance):.3f} without")

fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.2), sharex=True, sharey=True, layout="constrained")
normal = np.linspace(-8.0, 8.0, 200)
for ax, (title, values) in zip(axes, residuals.items(), strict=True):
    ax.hist(values, bins=np.arange(-8.0, 8.5, 0.5), density=True, color="C0", alpha=0.8)
    ax.plot(normal, np.exp(-0.5 * normal**2) / np.sqrt(2.0 * np.pi), color="C1", linewidth=1.5, label="standard normal")
    ax.set(title=title, xlabel="standardised residual")
axes[0].set_ylabel("density")
axes[0].legend(frameon=False)
plt.show()
