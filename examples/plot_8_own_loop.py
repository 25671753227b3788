"""
A loop of your own: sample the hyperparameters
==============================================

``fastard.LogMarginalLikelihood`` is a function of θ, the logarithms of all parameters, that returns its value and gradient.
Whatever takes such a function can be put on top; here a sampler, the Metropolis-adjusted Langevin algorithm, in fifteen lines.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastard

plt.style.use("tableau-colorblind10")

rng = np.random.default_rng(0)
X = rng.uniform(size=(60, 2))
y = np.sin(6.0 * X[:, 0]) + 0.3 * X[:, 1] + 0.1 * rng.standard_normal(60)

likelihood = fastard.LogMarginalLikelihood(X, y - y.mean(), kernel="rbf")

# %%
# The posterior is the likelihood times a prior, here normal with standard deviation 1.5 for each logarithm.

MEAN = np.log([1.0, 1.0, 1.0, 0.01])  # two length scales, signal and noise variance


def log_posterior(theta):
    value, gradient = likelihood(theta)
    z = (theta - MEAN) / 1.5
    return value - 0.5 * z @ z, gradient - z / 1.5


def langevin(theta, steps, size):
    """Each step goes uphill and a random way; ``size`` holds a standard deviation for each parameter."""
    value, slope = log_posterior(theta)
    chain, accepted = np.empty((steps, theta.size)), 0
    for i in range(steps):
        forward = theta + 0.5 * size**2 * slope
        proposal = forward + size * rng.standard_normal(theta.size)
        new_value, new_slope = log_posterior(proposal)
        backward = proposal + 0.5 * size**2 * new_slope
        ratio = new_value - value - 0.5 * np.sum(((theta - backward) / size) ** 2 - ((proposal - forward) / size) ** 2)
        if np.log(rng.uniform()) < ratio:
            theta, value, slope, accepted = proposal, new_value, new_slope, accepted + 1
        chain[i] = theta
    return chain, accepted / steps


# %%
# The maximum, and the standard errors there, give a start and the sizes of the steps.

model = fastard.fit(X, y)
start = np.log([*model.length_scale, model.signal_variance, model.noise_variance])
errors = model.standard_errors().standard_errors
chain, accepted = langevin(start, steps=4000, size=0.7 * np.where(np.isnan(errors), 0.5, np.minimum(errors, 0.5)))
print(f"accepted {accepted:.0%}")

# %%
# The first length scale is well determined. The second has a long tail: that input acts linearly, as with any long length
# scale.

fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.2), sharey=True, layout="constrained")
for i, ax in enumerate(axes):
    scales = np.exp(chain[500:, i])
    ax.hist(scales, bins=np.geomspace(scales.min(), scales.max(), 40), color="C0", alpha=0.8)
    ax.axvline(model.length_scale[i], color="C1", linewidth=2, label="maximum of the likelihood")
    ax.set(xscale="log", xlabel=f"length scale of $x_{i + 1}$")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.set_xticks([[0.2, 0.3, 0.4, 0.6], [1, 2, 5, 10, 20]][i])
axes[0].set_ylabel("samples")
axes[0].margins(y=0.2)
axes[0].legend(frameon=False, fontsize="small", loc="upper left")
plt.show()
