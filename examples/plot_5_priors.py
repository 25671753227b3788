"""
Few points: priors
==================

With seven noisy points the likelihood often has its maximum where everything is noise, or nothing is. Whoever knows roughly
how fast the function varies, and how noisy the measurements are, says so by a prior.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import fastard

plt.style.use("tableau-colorblind10")

PRIORS = {
    "length_scale_prior": stats.lognorm(s=0.5, scale=0.25),  # median 0.25 m, within a factor of e for 95 %
    "noise_variance_prior": stats.lognorm(s=1.0, scale=0.2**2),
}
grid = np.linspace(0.0, 1.0, 200)[:, None]


def experiment(seed):
    """A function whose length scale is drawn from the prior, seven measurements of it, and both models of them."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(size=7))
    scale = PRIORS["length_scale_prior"].rvs(random_state=rng)
    points = np.vstack([x[:, None], grid])
    K = fastard.covariance(points, length_scale=[scale]) + 1e-9 * np.eye(len(points))
    values = np.linalg.cholesky(K) @ rng.standard_normal(len(points))
    y = values[:7] + 0.2 * rng.standard_normal(7)
    return x, y, values[7:], fastard.fit(x[:, None], y), fastard.fit(x[:, None], y, **PRIORS)


# %%
# Sixty such experiments: the error on the function, with and without the priors.

experiments = [experiment(seed) for seed in range(60)]
errors = np.array(
    [[np.sqrt(np.mean((model.predict(grid) - truth) ** 2)) for model in models] for _, _, truth, *models in experiments]
)
print("mean RMSE: {:.3f} without priors, {:.3f} with".format(*errors.mean(axis=0)))

# %%
# On the left the experiment in which they helped most. On the right all of them: below the line the priors are better.

x, y, truth, without, with_priors = experiments[np.argmax(errors[:, 0] - errors[:, 1])]
fig, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.8), layout="constrained")
for model, color, style, label in [(without, "C1", "--", "without priors"), (with_priors, "C0", "-", "with priors")]:
    mean, std = model.predict(grid, return_std=True)
    left.fill_between(grid[:, 0], mean - 2 * std, mean + 2 * std, color=color, alpha=0.2)
    left.plot(grid[:, 0], mean, style, color=color, linewidth=2, label=label)
left.plot(grid[:, 0], truth, color="black", linewidth=1, label="truth")
left.plot(x, y, "o", color="black")
left.set(xlabel="place, m", ylabel="height, m")
left.legend(frameon=False, fontsize="small")
right.plot(*errors.T, "o", markersize=5, color="C0")
right.axline((0.5, 0.5), slope=1.0, color="C3", linewidth=1)
right.set(xlabel="RMSE without priors, m", ylabel="RMSE with priors, m", aspect="equal")
plt.show()
