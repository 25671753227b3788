"""Saving a model and loading it."""

import tempfile
from pathlib import Path

import fastard
from benchmarks.predictions import model_of
from benchmarks.problems import make_problem


class Storage:
    """From a model to a file, and back."""

    params = ([(100, 5), (2000, 20)],)
    param_names = ("(n, d)",)
    timeout = 300

    def setup(self, size):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "model.npz"
        self.model = model_of(make_problem(*size))()
        self.model.save(self.path)

    def teardown(self, size):
        self.folder.cleanup()

    def time_save(self, size):
        self.model.save(self.path)

    def time_load(self, size):
        fastard.load(self.path)
