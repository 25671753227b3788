"""The engine: the only way into compiled code. It raises no error about a user's arguments.

One evaluation of the log marginal likelihood and its gradient, in one n x n buffer (`evaluate`):

    scale      terms.scaled            the points less a centre, over the length scales                   n d
    fill       loops/pairs             K below the diagonal; above it what the gradient needs of k'        n^2 d
    factor     loops/sweep             K = L L', ln|K|, block by block, every block's pivot ...            n^3 / 3
    invert     loops/sweep             ... and, in the same sweep, K^-1 and alpha = K^-1 y                 2 n^3 / 3
    contract   loops/pairs             sum_jk Q_jk dK_jk / d ln(length scale i) for all i at once          n^2 d

`loops/schedule` is the list of tasks in which these five run on any number of threads: a tile is filled when it is first
touched and contracted after it was last touched. Around it stand

    evaluate   ->  cross      covariances of two sets of points, products of any weights with K's derivatives
                   posterior  predictions of a trained model
                   loo        the gradient of leave-one-out, from K^-1
                   hessian    K's derivatives times rows, for second derivatives
    descent    a search of many evaluations, with the priors' densities (priors), in compiled code
      |
    workspace      the buffer, lent and used again
    terms          one summand of the covariance, and its scaled points
    sizes          tiles and thresholds that were tuned, threads, and what is watched because it takes long
      |
    loops/         compiled; they know no Python object, and the kernel as the address of its own loop, profiles, the only one
                   that is compiled for each kernel
"""
