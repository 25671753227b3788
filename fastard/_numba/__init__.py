"""What Numba lacks: the decorator and its cache, CPU shapes, vector kernels, atomics, threads. No Gaussian process here."""
