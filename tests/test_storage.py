"""model.save and fastard.load: an exact round trip, and a clear error for anything else."""

import contextlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives import archive_of, changed, members
from conftest import ROOT, data
from helpers import peak, points, trained

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
        fastard.fit(frame, pandas.Series(data(9, 2)[1], name="é"), length_scale_bounds={"b\n": "fixed"}, n_restarts=1, rng=0),
    ):
        model.save(tmp_path / "model.npz")
        assert_same_model(fastard.load(tmp_path / "model.npz"), model)


def test_the_first_files_are_read(saved, tmp_path):
    """They lack the targets' names, the ends of the searches, and what training was told."""
    arrays = members(saved)
    header = json.loads(str(arrays["header"]))
    for name in ("target_names", "search_values", "settings"):
        del header[name]
    (tmp_path / "model.npz").write_bytes(archive_of(arrays | {"header": np.array(json.dumps(header))}))
    model = fastard.load(tmp_path / "model.npz")
    assert (model.target_names, model.search_values) == (None, [])
    assert "restarts" not in dict(model.summary().facts)
    assert model.refit(model._X, model._y, max_iterations=1).kernel == model.kernel


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
    "names_of_other_targets": lambda content: changed(content, target_names=["a", "b"]),
    "ends_of_no_search": lambda content: changed(content, search_values=["a"]),
    "other_settings": lambda content: changed(content, settings={"kernel": "rbf"}),
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
    path.write_bytes(changed(saved, version=99, fastard="9.0"))
    with pytest.raises(ValueError, match=r"fastard 9\.0.*upgrade"):
        fastard.load(path)


def test_a_mean_and_its_arrays_go_together(saved, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 2))
    model = fastard.fit(X, np.sin(X[:, 0]) + X[:, 1], mean="linear", max_iterations=2, n_threads=1)
    model.save(tmp_path / "mean.npz")
    content = (tmp_path / "mean.npz").read_bytes()
    arrays = members(content)
    of_mean = {name: array for name, array in arrays.items() if name.startswith("mean_")}
    assert len(of_mean) == 7
    for name in of_mean:
        refused(tmp_path / "file.npz", archive_of({k: v for k, v in arrays.items() if k != name}))
    refused(tmp_path / "file.npz", archive_of(members(saved) | of_mean))
    refused(tmp_path / "file.npz", changed(content, mean=None))
    refused(tmp_path / "file.npz", changed(content, mean="quadratic"))


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


def test_half_a_matrix_in_the_file_and_one_in_memory(tmp_path):
    """NumPy copies 16 MiB at a time while it writes."""
    model, _, _ = trained(n=1000)
    path = tmp_path / "model.npz"
    assert peak(lambda: model.save(path)) < 1.1 * 8 * 1000**2
    assert path.stat().st_size < 0.6 * 8 * 1000**2
    assert peak(lambda: fastard.load(path)) < 1.2 * 8 * 1000**2


# Files made to do harm -----------------------------------------------------------------------------------------------------


def raw_members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zip_of(entries, compression=zipfile.ZIP_STORED):
    """Of pairs of a name and the bytes."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # duplicate names
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def npy(header, data=b"", version=b"\x01\x00"):
    """What stands in a .npy file, with any text for its header."""
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little") + text + data


def refused(path, content, most=2**22):
    """ValueError, and little memory."""
    path.write_bytes(content)

    def load():
        with pytest.raises(ValueError, match=r"file\.npz is not a model that fastard saved, or is damaged") as caught:
            fastard.load(path)
        assert len(str(caught.value)) < 1000

    assert peak(load) < most


HEADERS = {
    "token_error": "{'descr': '<f8', 'fortran_order': False, 'shape': (20L, 1",
    "syntax_error": "{'descr': '<f8', 'fortran_order': False, 'shape': (20, 1), $}",
    "leading_zeros": "{'descr': '<f8', 'fortran_order': False, 'shape': (020, 1), }",
    "memory_error": "(" * 5000 + ")" * 5000,
    "recursion_error": "-" * 9000 + "1",
    "indentation": " {\n\t 'descr'",
    "nul": "\0",
    "python_2": "{'descr': '<f8', 'fortran_order': False, 'shape': (20L, 1L), }",
    "negative": "{'descr': '<f8', 'fortran_order': False, 'shape': (-20, -1), }",
    "huge": "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999999, 999999999999999999), }",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (20, 1), }",
    "records": "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (20, 1), }",
    "dates": "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (20, 1), }",
    "no_order": "{'descr': '<f8', 'fortran_order': 0, 'shape': (20, 1), }",
    "number": "17",
    "nothing": "",
}


@pytest.mark.parametrize("member", ["alpha.npy", "header.npy"])
@pytest.mark.parametrize("kind", HEADERS)
def test_hand_made_array_headers(kind, member, saved, tmp_path):
    """NumPy's reader of such raises TokenError, SyntaxError or MemoryError, or warns."""
    entries = raw_members(saved) | {member: npy(HEADERS[kind], bytes(160))}
    refused(tmp_path / "file.npz", zip_of(entries.items()))


def test_array_headers_of_another_version(saved, tmp_path):
    """The second version's length has four bytes: 4 GiB of header are no array."""
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (20, 1), }"
    for version in (b"\x02\x00", b"\x03\x00", b"\x09\x09"):
        entries = raw_members(saved) | {"alpha.npy": npy(header, bytes(160), version)}
        refused(tmp_path / "file.npz", zip_of(entries.items()))


def test_bombs(saved, tmp_path):
    """What expands is refused before it does, by its name, its shape or its size."""
    path, zeros = tmp_path / "file.npz", bytes(4 * 10**7)
    header = "{{'descr': '<f8', 'fortran_order': False, 'shape': ({}), }}".format

    def bomb(**changed):
        entries = raw_members(saved) | {f"{name}.npy": content for name, content in changed.items()}
        content = zip_of(entries.items(), zipfile.ZIP_DEFLATED)
        assert len(content) < 10**6
        refused(path, content)

    bomb(more=npy(header("5000000,"), zeros))  # a name that no model has
    bomb(alpha=npy(header("5000000, 1"), zeros))  # a shape that does not go with the others
    bomb(alpha=npy(header("20, 1"), zeros))  # more than the shape says
    bomb(header=npy("{'descr': '<U10000000', 'fortran_order': False, 'shape': (), }", zeros))
    # All shapes go together: 3000 points.
    n = 3_000
    small = npy(header(f"{n}, 1"), bytes(8 * n))
    factor = npy(header(f"{n * (n + 1) // 2},"), bytes(4 * n * (n + 1)))
    scales = {
        "length_scale": npy(header("1,"), np.ones(1).tobytes()),
        "slots": npy(header("3,").replace("f8", "i8"), bytes(24)),
    }
    bomb(X=small, y=small, alpha=small, factor=factor, **scales)


def test_bombs_of_another_compression(saved, tmp_path):
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refused(tmp_path / "file.npz", zip_of(raw_members(saved).items(), compression))


def test_members_that_lie_about_their_size(saved, tmp_path):
    """The directory says four billion bytes, and so does the shape."""
    n = (2**32 - 1 - 128) // 8
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({n},), }}".ljust(117)
    entries = {**raw_members(saved), "factor.npy": npy(header)}
    content = zip_of(entries.items())
    honest = len(entries["factor.npy"]).to_bytes(4, "little")
    place = content.rindex(honest * 2)  # compressed and not, in the directory's last entry
    for lie in ((2**32 - 2).to_bytes(4, "little") * 2, honest + (2**32 - 2).to_bytes(4, "little")):
        refused(tmp_path / "file.npz", content[:place] + lie + content[place + 8 :])


def test_names_twice_or_elsewhere(saved, tmp_path):
    path, entries = tmp_path / "file.npz", list(raw_members(saved).items())
    refused(path, zip_of([*entries, entries[0]]))
    refused(path, zip_of([(f"../{name}", content) for name, content in entries]))
    refused(path, zip_of([*entries, ("x" * 60_000 + ".npy", b"")]))


def test_text_of_the_header_is_not_shown_raw(saved, tmp_path):
    path = tmp_path / "file.npz"
    for wrong in ({"format": "\x1b[31m" + "x" * 10**5}, {"kernel": "\x1b[31m"}, {"message": ["\x1b[31m"] * 10**4}):
        refused(path, changed(saved, **wrong))
        with pytest.raises(ValueError, match="damaged") as caught:
            fastard.load(path)
        assert str(caught.value).isprintable()
    path.write_bytes(changed(saved, version=99, fastard="9\x1b[31m" * 10**5))
    with pytest.raises(ValueError, match=r"fastard 9\?.31m.*upgrade") as caught:
        fastard.load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_a_later_version_may_hold_more(saved, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(archive_of(members(changed(saved, version=99, fastard="9.0")) | {"more": np.ones(3)}))
    with pytest.raises(ValueError, match=r"fastard 9\.0.*upgrade"):
        fastard.load(path)


def test_deeply_nested_header(saved, tmp_path):
    for text in ("[" * 10**5, '{"format": ' * 10**5, '{"version": ' + "9" * 5000 + "}"):
        refused(tmp_path / "file.npz", archive_of(members(saved) | {"header": np.array(text)}), most=2**24)


def test_compressed_and_other_orders_are_read(saved, tmp_path):
    """What NumPy's own functions make of the arrays is the same model."""
    path, arrays = tmp_path / "file.npz", members(saved)
    path.write_bytes(saved)
    expected = fastard.load(path)
    np.savez_compressed(path, **{name: np.asfortranarray(array) if array.ndim else array for name, array in arrays.items()})
    assert_same_model(fastard.load(path), expected)


def test_damaged_files_are_value_errors(saved, tmp_path):
    """Bytes flipped, cut out and doubled, in the whole and in members whose checksum is right again."""
    path, random = tmp_path / "file.npz", np.random.default_rng(0)
    entries = raw_members(saved)
    loaded = 0
    for _ in range(600):
        name = str(random.choice(list(entries)))
        whole = bool(random.integers(2))
        content = bytearray(saved if whole else entries[name])
        for _ in range(random.integers(1, 4)):
            # mostly in what is no number: an array's header, a zip's directory
            i = int(random.integers(len(content)) if random.integers(2) else random.integers(min(128, len(content))))
            i = len(content) - 1 - i if whole and random.integers(2) else i
            j = i + int(random.integers(1, 20))
            match random.integers(4):
                case 0:
                    content[i] ^= 1 << int(random.integers(8))
                case 1:
                    content[i:j] = random.bytes(j - i)
                case 2:
                    del content[i:j]
                case _:
                    content[i:i] = content[i:j]
        path.write_bytes(bytes(content) if whole else zip_of((entries | {name: bytes(content)}).items()))
        with contextlib.suppress(ValueError):
            fastard.load(path)
            loaded += 1
    assert loaded < 300  # a number has changed, or nothing


# What killed processes leave -----------------------------------------------------------------------------------------------

KILLED = """
import os, pathlib, signal, sys
import numpy as np, fastard
model = fastard.fit(np.arange(5.0)[:, None], np.arange(5.0), max_iterations=1)
def killed(file, **arrays):
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
np.savez = killed
model.save(sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a kill that leaves no time to clear up, and locks that it lets go of")
def test_what_a_killed_save_has_left_is_cleared_by_the_next(tmp_path):
    path = tmp_path / "model.npz"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".")
    assert left.read_bytes() == b"half of it"
    model = trained(n=5)[0]
    model.save(tmp_path / "other.npz")  # of another model, which is none of its business
    assert left.exists()
    model.save(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.npz", "other.npz"]


@pytest.mark.skipif(os.name != "posix", reason="nothing is cleared there")
def test_a_save_under_way_is_not_cleared_by_another(tmp_path, monkeypatch):
    path, model, savez, seen = tmp_path / "model.npz", trained(n=5)[0], np.savez, []

    def slow(file, **arrays):
        monkeypatch.setattr(np, "savez", savez)
        (own,) = tmp_path.iterdir()
        trained(n=6)[0].save(path)  # meanwhile
        assert own.exists()
        seen.append(len(fastard.load(path).loo().mean))
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", slow)
    model.save(path)
    assert seen == [6]
    assert len(fastard.load(path).loo().mean) == 5
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="there are no such locks there")
def test_a_file_cleared_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    """And a file system that has no locks is written to all the same."""
    fcntl = pytest.importorskip("fcntl")
    path, flock = tmp_path / "model.npz", fcntl.flock

    def cleared(file, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        for unfinished in tmp_path.iterdir():
            unfinished.unlink()
        flock(file, operation)

    def busy(file, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        raise BlockingIOError

    def none(file, operation):
        raise OSError(38, "Function not implemented")

    for each in (cleared, busy, none):
        monkeypatch.setattr(fcntl, "flock", each)
        trained(n=5)[0].save(path)
        assert list(tmp_path.iterdir()) == [path]
        assert len(fastard.load(path).loo().mean) == 5
        path.unlink()


def test_a_name_as_long_as_may_be(tmp_path):
    path = tmp_path / ("m" * 255)
    trained(n=5)[0].save(path)
    assert list(tmp_path.iterdir()) == [path]
