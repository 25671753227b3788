"""
Which inputs matter: the borehole function
==========================================

The flow of water through a borehole between two aquifers is a common test of surrogate models: eight inputs of very different
units, of which a few decide nearly everything. A length scale for each of them finds out which.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastard

plt.style.use("tableau-colorblind10")

INPUTS = {
    "borehole radius, m": (0.05, 0.15),
    "radius of influence, m": (100.0, 50000.0),
    "upper transmissivity, m²/a": (63070.0, 115600.0),
    "upper head, m": (990.0, 1110.0),
    "lower transmissivity, m²/a": (63.1, 116.0),
    "lower head, m": (700.0, 820.0),
    "borehole length, m": (1120.0, 1680.0),
    "conductivity, m/a": (9855.0, 12045.0),
}


def flow(X):
    """Cubic metres a year."""
    radius, influence, upper, upper_head, lower, lower_head, length, conductivity = X.T
    ln = np.log(influence / radius)
    resistance = ln * (1.0 + upper / lower) + 2.0 * length * upper / (radius**2 * conductivity)
    return 2.0 * np.pi * upper * (upper_head - lower_head) / resistance


low, high = np.array(list(INPUTS.values())).T
rng = np.random.default_rng(0)
X = low + (high - low) * rng.uniform(size=(200, 8))
y = flow(X)

# %%
# No scaling is needed: the search works in units of each column's standard deviation, and gives the length scales back in the
# units of the data.

model = fastard.fit(X, y, kernel="matern52", n_restarts=2, rng=0)
for i in np.argsort(-model.relevance):
    name, unit = list(INPUTS)[i].split(", ")
    print(f"{name:20} relevance {model.relevance[i]:5.3f}, length scale {model.length_scale[i]:.4g} {unit}")

# %%
# Relevance says how wiggly the function is along an input, over the spread of the data, not how much of the variance. The
# radius of influence and the transmissivities hardly matter.

fig, ax = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
order = np.argsort(model.relevance)
ax.barh([list(INPUTS)[i].split(",")[0] for i in order], model.relevance[order], color="C0")
ax.set_xlabel("relevance: standard deviation / length scale, scaled to sum 1")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# How good the model is, on 1000 points that it has not seen:

X_new = low + (high - low) * rng.uniform(size=(1000, 8))
mean, std = model.predict(X_new, return_std=True)
truth = flow(X_new)
rmse = np.sqrt(np.mean((mean - truth) ** 2))
print(f"RMSE {rmse:.2f} m³/a, {100 * rmse / truth.std():.1f} % of the standard deviation")
print(f"within two standard deviations: {np.mean(abs(mean - truth) < 2 * std):.0%}")

fig, ax = plt.subplots(figsize=(4.8, 4.4), layout="constrained")
ax.plot(truth, mean, ".", markersize=4, color="C0")
ax.axline((0.0, 0.0), slope=1.0, color="C3", linewidth=1)
ax.set(xlabel="flow, m³/a", ylabel="flow predicted, m³/a")
plt.show()
