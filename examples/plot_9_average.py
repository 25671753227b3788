"""
Few points, many inputs: average over the hyperparameters
=========================================================

Twenty-five measurements, eight inputs, of which two matter. One optimum of the likelihood has to decide which; the posterior
distribution of the hyperparameters says how far the data decide it (``pip install 'fastard[bayes]'``).
"""

import matplotlib.pyplot as plt
import numpy as np

import fastard

plt.style.use("tableau-colorblind10")

rng = np.random.default_rng(3)
NAMES = ["flow", "heat", "feed", "load", "lift", "wear", "tilt", "salt"]
X = rng.uniform(size=(25, 8))


def truth(X):
    return 3.0 * np.sin(5.0 * X[:, 0]) + 4.0 * (X[:, 1] - 0.4) ** 2


y = truth(X) + 0.3 * rng.standard_normal(25)

optimum = fastard.fit(X, y, kernel="matern52")
posterior = fastard.sample_posterior(X, y, kernel="matern52", length_scale_prior="saas", target_accept=0.95, rng=0)
print(posterior.summary())

# %%
# Have the chains converged? Each should look like the others, and like no path that leads anywhere: the length scale of the
# first input, and the global scale, which says how many inputs matter.

COLORS = ["C0", "C1", "C3", "C4"]
fig, panels = plt.subplots(2, 1, figsize=(8.0, 4.2), sharex=True, layout="constrained")
for chain in range(posterior.n_chains):
    panels[0].plot(posterior.length_scale[chain, :, 0], color=COLORS[chain], linewidth=0.6, label=f"chain {chain}")
    panels[1].plot(posterior.global_scale[chain], color=COLORS[chain], linewidth=0.6)
panels[0].set(ylabel="length scale of flow", yscale="log")
panels[1].set(xlabel="draw", ylabel="global scale τ", yscale="log")
fig.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
plt.show()

# %%
# Which inputs matter, and how sure is that? Bars are intervals of 90 %; the crosses are where the optimum puts them.

fig, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
median = np.median(posterior.relevance, axis=(0, 1))
low, high = posterior.relevance_interval(0.9).T
places = np.arange(8)[::-1]
axes.hlines(places, low, high, color="C0", linewidth=5, alpha=0.5, label="90 % of the posterior")
axes.plot(median, places, "o", color="C0", label="its median")
axes.plot(optimum.relevance, places, "x", color="C1", markersize=8, markeredgewidth=2, label="the optimum")
axes.set(xlabel="relevance, share of all inputs", xlim=(-0.02, 1.0))
axes.set_yticks(places, NAMES)
axes.legend(frameon=False)
plt.show()

# %%
# Predictions along the first input, the others in the middle: the bands are of two standard deviations.

line = np.full((200, 8), 0.5)
line[:, 0] = np.linspace(0.0, 1.0, 200)
fig, panels = plt.subplots(1, 2, figsize=(8.0, 3.6), sharey=True, layout="constrained")
for axes, model, title in zip(panels, (optimum, posterior), ("at one optimum", "averaged over 100 draws"), strict=True):
    mean, std = model.predict(line, return_std=True)
    axes.fill_between(line[:, 0], mean - 2 * std, mean + 2 * std, color="C0", alpha=0.25, linewidth=0)
    axes.plot(line[:, 0], mean, color="C0", linewidth=2, label="mean")
    axes.plot(line[:, 0], truth(line), color="black", linewidth=1, linestyle="--", label="truth")
    axes.set(xlabel="flow", title=title)
panels[0].set_ylabel("yield")
panels[0].legend(frameon=False)
plt.show()

# %%
# How often the bands hold the truth, at a thousand new points, and how far the means are from it.

points = rng.uniform(size=(1000, 8))
for model, name in ((optimum, "one optimum"), (posterior, "averaged")):
    mean, std = model.predict(points, return_std=True)
    inside = np.mean(np.abs(mean - truth(points)) < 2 * std)
    error = np.sqrt(np.mean((mean - truth(points)) ** 2))
    print(f"{name:12s} {inside:.0%} within two standard deviations, RMSE {error:.2f}")
