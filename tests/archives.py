"""Saved models with something changed in them."""

import io
import json

import numpy as np


def members(content):
    with np.load(io.BytesIO(content)) as archive:
        return dict(archive)


def archive_of(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def changed(content, **entries):
    """With other entries of the header."""
    arrays = members(content)
    header = json.loads(str(arrays["header"])) | entries
    return archive_of(arrays | {"header": np.array(json.dumps(header))})
