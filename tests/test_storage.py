"""model.save and fastard.load: an exact round trip, and a clear error for anything else."""

import io
import json
import os
import pickle
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import data
from test_memory import peak
from test_posterior import points, trained

import fastard


def assert_same_model(loaded, model):
    for name, value in vars(model).items():
        other = getattr(loaded, name)
        if name == "_factor":
            np.testing.assert_array_equal(np.triu(other), np.triu(value))
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(other, value)
            assert (other.dtype, other.flags.writeable) == (value.dtype, value.flags.writeable), name
        else:
            assert other == value, name
            assert type(other) is type(value)


@pytest.mark.parametrize("m", [1, 2])
def test_round_trip(kernel, m, tmp_path):
    model, _, _ = trained(kernel, m=m, observation_variance=np.linspace(0.0, 0.1, 70) if m == 2 else None)
    path = tmp_path / "a model"
    model.save(path)
    loaded = fastard.load(str(path))
    assert_same_model(loaded, model)
    for one, other in zip(loaded.predict(points(), return_std=True), model.predict(points(), return_std=True), strict=True):
        np.testing.assert_array_equal(one, other)
    known = np.ones(3) if m == 2 else None
    for each in (model, loaded):
        each.update(*data(3, 3, m, seed=1), known)
    loaded.save(path)  # after an update, over the old one
    assert_same_model(fastard.load(path), model)


def test_names_and_odd_sizes(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(data(9, 2)[0], columns=["a $é", "b\n"])
    for model in (
        fastard.fit(frame, data(9, 2)[1], max_iterations=2, objective="loo"),
        fastard.fit(np.empty((4, 0)), np.arange(4.0), max_iterations=2),
        fastard.fit([[1.0]], [2.0]),
    ):
        model.save(tmp_path / "model.npz")
        assert_same_model(fastard.load(tmp_path / "model.npz"), model)


def test_threads_are_the_readers(tmp_path):
    trained()[0].save(tmp_path / "model.npz")
    assert fastard.load(tmp_path / "model.npz", n_threads=1).n_threads == 1
    with pytest.raises(ValueError, match="n_threads"):
        fastard.load(tmp_path / "model.npz", n_threads=0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.npz"
    trained(n=20)[0].save(path)
    return path.read_bytes()


def members(content):
    with np.load(io.BytesIO(content)) as archive:
        return dict(archive)


def archive_of(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def changed(content, **entries):
    arrays = members(content)
    header = json.loads(str(arrays["header"])) | entries
    return archive_of(arrays | {"header": np.array(json.dumps(header))})


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


FOREIGN = {
    "empty": lambda content: b"",
    "text": lambda content: b"a,b\n1,2\n",
    "pickle": lambda content: pickle.dumps(Bomb()),
    "objects": lambda content: archive_of({"header": np.array(Bomb(), dtype=object)}),
    "one_array": lambda content: archive_of({"header": np.ones(3)}),
    "npy": lambda content: (lambda file: (np.save(file, np.ones(3)), file.getvalue())[1])(io.BytesIO()),
    "another_npz": lambda content: archive_of({"X": np.ones((3, 2))}),
    "cut_off": lambda content: content[: len(content) // 2],
    "cut_off_at_the_end": lambda content: content[:-10],
    "bits_flipped": lambda content: content[:2000] + bytes(byte ^ 255 for byte in content[2000:2100]) + content[2100:],
    "other_format": lambda content: changed(content, format="another model"),
    "other_kernel": lambda content: changed(content, kernel="periodic"),
    "other_shape": lambda content: changed(content, shape=[1.0, 2.0]),
    "not_finite": lambda content: archive_of(members(content) | {"alpha": np.full((20, 1), np.nan)}),
    "wrong_size": lambda content: archive_of(members(content) | {"alpha": np.ones((19, 1))}),
    "missing": lambda content: archive_of({k: v for k, v in members(content).items() if k != "alpha"}),
    "wrong_type": lambda content: archive_of(members(content) | {"alpha": np.ones((20, 1), dtype=np.float32)}),
    "list_variance": lambda content: changed(content, signal_variance=[1.0]),
    "true_variance": lambda content: changed(content, signal_variance=True),
    "evaluations_true": lambda content: changed(content, n_evaluations=True),
    "no_evaluations": lambda content: changed(content, n_evaluations=-5),
    "foreign_slots": lambda content: archive_of(members(content) | {"slots": np.full(5, 99)}),
    "negative_variance": lambda content: changed(content, signal_variance=-1.0),
    "no_variance": lambda content: changed(content, signal_variance=None),
    "no_noise": lambda content: changed(content, noise_variance="x"),
    "shape_of_no_kernel": lambda content: changed(content, kernel="rational_quadratic", shape=[float("nan")]),
    "short_names": lambda content: changed(content, feature_names=["a"]),
    "names_of_no_list": lambda content: changed(content, feature_names=3),
    "converged_no": lambda content: changed(content, converged="no"),
    "version_zero": lambda content: changed(content, version=0),
    "version_true": lambda content: changed(content, version=True),
    "no_factor": lambda content: archive_of(members(content) | {"factor": np.zeros(210)}),
    "negative_length_scale": lambda content: archive_of(
        members(content) | {"length_scale": -members(content)["length_scale"]}
    ),
    "empty_zip": lambda content: (lambda file: (zipfile.ZipFile(file, "w").close(), file.getvalue())[1])(io.BytesIO()),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_model(kind, saved, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(FOREIGN[kind](saved))
    with pytest.raises(ValueError, match=r"file\.npz is not a model that fastard saved, or is damaged"):
        fastard.load(path)


def test_a_later_version(saved, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(changed(saved, version=2, fastard="9.0"))
    with pytest.raises(ValueError, match=r"fastard 9\.0.*upgrade"):
        fastard.load(path)


def test_no_file_and_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastard.load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        trained(n=5)[0].save(tmp_path / "none" / "model.npz")


def test_a_failure_leaves_the_earlier_file_whole(saved, tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    path.write_bytes(saved)

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        trained(n=5)[0].save(path)
    assert path.read_bytes() == saved
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_stays_and_a_pipe_is_written_into(saved, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(saved)
    path.chmod(0o600)
    model = trained(n=5)[0]
    model.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    model.save(os.devnull)
    assert not Path(os.devnull).is_file()
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none.model\.npz'$"):
        model.save(tmp_path / "none" / "model.npz")


def test_threads_may_write_to_one_path(tmp_path):
    """The last one wins, and who reads meanwhile finds a whole file."""
    path, models = tmp_path / "model.npz", [trained(n=5)[0], trained(n=6)[0]]
    models[0].save(path)
    errors = []

    def work(model):
        try:
            for _ in range(20):
                model.save(path)
                assert len(fastard.load(path).loo().mean) in (5, 6)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(saved, tmp_path):
    path, link = tmp_path / "model.npz", tmp_path / "latest.npz"
    path.write_bytes(saved)
    link.symlink_to(path)
    trained(n=5)[0].save(link)
    assert link.is_symlink()
    assert fastard.load(path).predict(np.zeros((1, 3))).shape == (1,)


def test_half_a_matrix_in_the_file_and_two_in_memory(tmp_path):
    """NumPy copies 16 MiB at a time while it writes."""
    model, _, _ = trained(n=1000)
    path = tmp_path / "model.npz"
    assert peak(lambda: model.save(path)) < 1.1 * 8 * 1000**2
    assert path.stat().st_size < 0.6 * 8 * 1000**2
    assert peak(lambda: fastard.load(path)) < 1.8 * 8 * 1000**2
