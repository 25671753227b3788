"""
Categories and angles: encode them
==================================

A length scale measures distance, so an input must be given in numbers whose distances mean something. Two recipes: an angle,
an hour of the day or a month becomes a point on a circle; a category becomes one column for each of its values.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastard

plt.style.use("tableau-colorblind10")

rng = np.random.default_rng(0)
n = 90
hour = rng.uniform(4.0, 22.0, n)  # nobody measures at night
site = rng.choice(["coast", "valley", "summit"], n)
offset = {"coast": 14.0, "valley": 12.0, "summit": 3.0}
swing = {"coast": 2.0, "valley": 6.0, "summit": 3.0}


def temperature(hour, site):
    return np.array([offset[s] + swing[s] * np.sin(2.0 * np.pi * (h - 9.0) / 24.0) for h, s in zip(hour, site, strict=True)])


y = temperature(hour, site) + 0.5 * rng.standard_normal(n)

# %%
# Three columns of 0 and 1 for the site, whose length scales say how much two sites have to do with each other, and two for
# the hour. The two of the circle should share a length scale, so that midnight is no special hour: ``length_scale_groups``.

SITES = ["coast", "valley", "summit"]


def encode(hour, site):
    angle = 2.0 * np.pi * np.asarray(hour) / 24.0
    return np.column_stack([np.cos(angle), np.sin(angle), *(np.asarray(site) == name for name in SITES)])


model = fastard.fit(encode(hour, site), y, length_scale_groups=["hour", "hour", *SITES])
plain = fastard.fit(np.column_stack([hour, [SITES.index(s) for s in site]]), y)  # as numbers: for comparison

# %%
# On a circle there is no end of the day: the curves go on through midnight, and know of the morning what the evening says. Of
# the hour as a number, 0 and 24 are as far apart as can be.

grid = np.linspace(0.0, 24.0, 200)
fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.8), sharey=True, layout="constrained")
for i, name in enumerate(SITES):
    here = site == name
    same = np.full(200, name)
    for ax, mean, std in [
        (axes[0], *model.predict(encode(grid, same), return_std=True)),
        (axes[1], *plain.predict(np.column_stack([grid, np.full(200, float(i))]), return_std=True)),
    ]:
        ax.plot(hour[here], y[here], "o^s"[i], markersize=3, color=f"C{i}", alpha=0.6)
        ax.plot(grid, mean, color=f"C{i}", label=name)
        ax.fill_between(grid, mean - 2 * std, mean + 2 * std, color=f"C{i}", alpha=0.25)
axes[0].set(title="encoded", ylabel="temperature, °C")
axes[1].set(title="as numbers")
for ax in axes:
    ax.set(xlabel="hour of the day", xlim=(0.0, 24.0), xticks=range(0, 25, 6))
axes[0].legend(frameon=False, ncols=3, fontsize="small")
plt.show()

for name, found, points in [("encoded", model, encode), ("numbers", plain, None)]:
    at = np.array([0.0, 24.0])
    X = points(at, ["valley"] * 2) if points else np.column_stack([at, [1.0, 1.0]])
    print(f"{name}: valley at 0 h and 24 h", found.predict(X).round(2))
