"""
One dimension: a posterior and functions drawn from it
=======================================================

Noisy measurements of a function, what the model believes of it in between, and six functions that it thinks possible.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastard

plt.style.use("tableau-colorblind10")

rng = np.random.default_rng(0)
time = np.sort(rng.uniform(0.0, 10.0, 16))
level = np.sin(time) + 0.3 * time + 0.15 * rng.standard_normal(16)

model = fastard.fit(time[:, None], level, kernel="matern52")
print(f"length scale {model.length_scale[0]:.2f} s, noise {np.sqrt(model.noise_variance):.2f} m")

# %%
# The standard deviation is that of the function; that of a new measurement has the noise in it too, with
# ``include_noise=True``. Outside the data the model returns to the mean of the targets, and says how little it knows.

grid = np.linspace(-1.0, 12.0, 300)[:, None]
mean, std = model.predict(grid, return_std=True)
functions = model.sample(grid, size=6, rng=0)

fig, ax = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
ax.fill_between(grid[:, 0], mean - 2 * std, mean + 2 * std, color="C0", alpha=0.2, label="mean ± 2 standard deviations")
ax.plot(grid[:, 0], functions.T, color="C2", linewidth=0.8, alpha=0.8, label=["functions drawn"] + 5 * ["_"])
ax.plot(grid[:, 0], mean, color="C0", linewidth=2, label="mean")
ax.plot(time, level, "o", color="black", label="measurements")
ax.set(xlabel="time, s", ylabel="level, m", xlim=(-1.0, 12.0))
ax.legend(loc="upper left", frameon=False)
plt.show()

# %%
# What depends on the whole function, such as where it is highest between 0 and 5 s, comes from the drawn functions, not from
# the standard deviations.

early = np.linspace(0.0, 5.0, 200)[:, None]
highest = early[model.sample(early, size=500, rng=1).argmax(axis=1), 0]
print(f"highest at {highest.mean():.2f} ± {highest.std():.2f} s")
