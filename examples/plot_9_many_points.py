"""
Many points: what the approximation loses
=========================================

The covariance of 12 000 points has 1.2 GB, and every step of a search factors it, at a cost that grows as n³.
:func:`fastard.fit_vecchia` gives each block of points its nearest ones alone, in time and memory linear in n, and the model
says how much that loses.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastard

plt.style.use("tableau-colorblind10")

rng = np.random.default_rng(0)
X = rng.uniform([0.0, 0.0, 0.0], [40.0, 40.0, 4.0], size=(12000, 3))


def temperature(X):
    """Kelvin: waves along the surface, which die away with depth."""
    east, north, depth = X.T
    return 285.0 + 3.0 * np.sin(0.5 * east) * np.cos(0.4 * north) * np.exp(-0.3 * depth)


y = temperature(X) + 0.3 * rng.standard_normal(len(X))

# %%
# The default kernel here is Matérn 5/2, the default number of neighbours 64.

model = fastard.fit_vecchia(X, y, rng=0)
print(model.summary())

# %%
# ``accuracy`` takes a sample of the blocks and gives them four and sixteen times as many neighbours: what the likelihood, the
# parameters and the predictions would gain by that. Here the predictions are as good as the noise allows, while a length scale
# would move by several of its standard errors, which are small: where the parameters matter, take more ``neighbors``.

accuracy = model.accuracy()
print(accuracy)

# %%
# What is lost falls as the neighbours grow, and the time rises.

counts = [8, 16, 32, 64]
losses = []
for count in counts:
    few = fastard.fit_vecchia(X[:4000], y[:4000], neighbors=count, block_size=max(2, count // 4), rng=0)
    found = few.accuracy(sample=50)
    losses.append((found.nats_lost[-1], found.nats_lost_error[-1]))

lost, error = np.array(losses).T
fig, ax = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
ax.errorbar(counts, lost, 2.0 * error, fmt="o-", color="C0", capsize=3)
ax.set(xscale="log", yscale="log", xlabel="neighbours", ylabel="nats lost per point")
ax.set_xticks(counts, map(str, counts))
ax.minorticks_off()
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Predictions are those of the exact Gaussian process of the 256 nearest training points, with standard deviations. Here they
# are along a line at a depth of half a kilometre, beside the truth:

east = np.linspace(0.0, 40.0, 200)
line = np.column_stack([east, np.full(200, 20.0), np.full(200, 0.5)])
mean, std = model.predict(line, return_std=True)
truth = temperature(line)
print(f"RMSE {np.sqrt(np.mean((mean - truth) ** 2)):.3f} K, where the noise is 0.3 K")

fig, ax = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
ax.fill_between(
    east, mean - 2.0 * std, mean + 2.0 * std, color="C0", alpha=0.25, linewidth=0.0, label="± 2 standard deviations"
)
ax.plot(east, mean, color="C0", label="predicted")
ax.plot(east, truth, "--", color="C1", label="truth")
ax.set(xlabel="east, km", ylabel="temperature, K")
fig.legend(loc="outside upper center", ncols=3, frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
