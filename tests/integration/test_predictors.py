"""The shipped model: the same answers by both predictors and from any thread, as good as its card says."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.inference.models import RegistryModels
from services.inference.predictors import (
    DEFAULT_DIRECTORY,
    LiteRTPredictor,
    Predictor,
    SavedModelPredictor,
    load_predictor,
)
from services.model.familiarity import FAMILIARITY_FILE
from services.model.learnt import LEARNT_FILE, Learnt, photo_digest
from services.model.manifest import ModelError, digests, load_manifest, save_manifest
from services.model.preprocessing import to_array
from services.model.registry import Registry
from services.shared.errors import ImageError
from services.shared.images import decode
from services.shared.memory import MemoryObjects
from services.training import fashion_mnist
from services.training.demo import HEADS, JPEG_QUALITY, jpeg
from services.training.demo_catalogue import DEMO, FIRST_ID
from services.training.foreign import foreign_images

REAL_PHOTOS = 240
# Of photos between two types, rounding decides: one may fall on either side.
MIN_AGREEMENT = 0.99
CLOSE = 0.1


@pytest.fixture(scope="module")
def litert() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from services.training.exports import export_saved_model

    directory = tmp_path_factory.mktemp("exported")
    export_saved_model(DEFAULT_DIRECTORY, directory)
    return directory


@pytest.fixture(scope="module")
def saved_model(exported: Path) -> Predictor:
    return load_predictor(exported)


@pytest.fixture(scope="module")
def photos(litert: Predictor) -> NDArray[np.uint8]:
    """Every photo of the demo catalogue that can be read; the real ones come first."""
    pixels = []
    for path in sorted((DEMO / "images").glob("*.jpg")):
        try:
            pixels.append(to_array(decode(path.read_bytes()), litert.image_size))
        except ImageError:
            assert int(path.stem) >= FIRST_ID + 360  # only the broken ones, which come last
    assert len(pixels) == 360
    return np.stack(pixels)


def _agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The share of photos with the same first label; the others must be near ties."""
    first, second = one.argmax(axis=1), other.argmax(axis=1)
    for row in np.flatnonzero(first != second):
        assert one[row, first[row]] - one[row, second[row]] < CLOSE
        assert other[row, second[row]] - other[row, first[row]] < CLOSE
    return float((first == second).mean())


def test_a_directory_decides_which_predictor_it_gets(litert: Predictor, saved_model: Predictor) -> None:
    assert isinstance(litert, LiteRTPredictor)
    assert isinstance(saved_model, SavedModelPredictor)


def test_both_describe_the_same_model(litert: Predictor, saved_model: Predictor) -> None:
    for predictor in (litert, saved_model):
        assert predictor.name == "fashion-lite0"
        assert predictor.version == load_manifest(DEFAULT_DIRECTORY).version
        assert predictor.image_size == load_manifest(DEFAULT_DIRECTORY).image_size
        assert predictor.max_batch >= 1
    assert litert.labels == saved_model.labels == HEADS


def test_both_give_the_same_labels_on_the_real_photos(
    litert: Predictor, saved_model: Predictor, photos: NDArray[np.uint8]
) -> None:
    real = photos[:REAL_PHOTOS]
    one, other = litert.predict(real).probabilities, saved_model.predict(real).probabilities

    assert _agreement(one["article_type"], other["article_type"]) >= MIN_AGREEMENT
    assert np.abs(one["article_type"] - other["article_type"]).mean() < 0.005


def test_both_give_the_same_labels_on_the_drawings(
    litert: Predictor, saved_model: Predictor, photos: NDArray[np.uint8]
) -> None:
    drawn = photos[REAL_PHOTOS:]
    one, other = litert.predict(drawn).probabilities, saved_model.predict(drawn).probabilities

    for head in one:
        assert _agreement(one[head], other[head]) >= MIN_AGREEMENT


def test_probabilities_are_float32_and_sum_to_one(
    litert: Predictor, saved_model: Predictor, photos: NDArray[np.uint8]
) -> None:
    for predictor in (litert, saved_model):
        for head, probabilities in predictor.predict(photos[:5]).probabilities.items():
            assert probabilities.dtype == np.float32
            assert probabilities.shape == (5, len(predictor.labels[head]))
            assert probabilities.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3, 129])
def test_batches_of_any_size_are_answered_photo_by_photo(
    saved_model: Predictor, photos: NDArray[np.uint8], count: int
) -> None:
    batched = saved_model.predict(photos[:count]).probabilities
    single = [saved_model.predict(photo[np.newaxis]).probabilities for photo in photos[:count]]

    for head, probabilities in batched.items():
        assert len(probabilities) == count
        for row, alone in zip(probabilities, single, strict=True):
            assert row == pytest.approx(alone[head][0], abs=0.05)


def test_threads_get_what_one_thread_gets(litert: Predictor, photos: NDArray[np.uint8]) -> None:
    serial = litert.predict(photos).probabilities

    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda photo: litert.predict(photo[np.newaxis]).probabilities, photos))

    for head, probabilities in serial.items():
        np.testing.assert_array_equal(np.concatenate([one[head] for one in parallel]), probabilities)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 96, 96, 3), np.uint8),
        np.zeros((56, 56, 3), np.uint8),
        np.zeros((1, 56, 56, 1), np.uint8),
        np.zeros((1, 56, 56, 3), np.float32),
    ],
    ids=["size", "no batch", "grey", "float"],
)
def test_images_of_another_shape_or_type_are_refused(
    litert: Predictor, saved_model: Predictor, images: NDArray[np.uint8]
) -> None:
    for predictor in (litert, saved_model):
        with pytest.raises(ValueError, match="uint8"):
            predictor.predict(images)


def test_a_changed_litert_file_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(DEFAULT_DIRECTORY, directory)
    content = bytearray((directory / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (directory / "model.tflite").write_bytes(content)

    with pytest.raises(ModelError, match=r"model\.tflite has SHA-256"):
        load_predictor(directory)


def test_a_changed_saved_model_is_refused(tmp_path: Path, exported: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(exported, directory)
    (directory / "saved_model" / "fingerprint.pb").write_bytes(b"another")

    with pytest.raises(ModelError, match=r"fingerprint\.pb has SHA-256"):
        load_predictor(directory)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither"):
        load_predictor(tmp_path)


def test_a_promised_gpu_that_is_missing_is_refused(exported: Path) -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match="GPU is promised"):
        load_predictor(exported, require_gpu=True)
    with pytest.raises(ModelError, match="GPU"):
        load_predictor(DEFAULT_DIRECTORY, require_gpu=True)


def test_the_litert_predictor_does_without_tensorflow() -> None:
    program = (
        "import sys\n"
        "from services.inference.predictors import load_predictor\n"
        "load_predictor()\n"
        "print(sorted({'tensorflow', 'tf_keras', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_both_tell_photos_of_products_from_other_images(
    litert: Predictor, saved_model: Predictor, photos: NDArray[np.uint8]
) -> None:
    for predictor in (litert, saved_model):
        familiar = predictor.predict(photos[:REAL_PHOTOS]).unfamiliar
        assert familiar is not None
        assert familiar.mean() < 0.05
        for kind, images in foreign_images(predictor.image_size).items():
            foreign = predictor.predict(images[:100]).unfamiliar
            assert foreign is not None
            # Grey faces of 25x25 pixels are as coarse as the photos that the bundled model learnt.
            assert foreign.mean() > (0.6 if kind == "faces" else 0.9)


def test_a_model_without_embeddings_of_its_training_photos_cannot_tell(tmp_path: Path) -> None:
    directory = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "model")
    manifest = load_manifest(directory)
    files = {name: digest for name, digest in manifest.files.items() if name != FAMILIARITY_FILE}
    save_manifest(directory, manifest.model_copy(update={"files": files}))

    size = manifest.image_size
    assert load_predictor(directory).predict(np.zeros((1, size, size, 3), np.uint8)).unfamiliar is None


def test_a_published_version_knows_the_photos_that_it_was_trained_on(tmp_path: Path) -> None:
    directory = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "model")
    Learnt.of([photo_digest(b"a photo")]).save(directory / LEARNT_FILE)
    manifest = load_manifest(directory)
    files = manifest.files | digests(directory, [LEARNT_FILE])
    save_manifest(directory, manifest.model_copy(update={"files": files, "version": "learnt"}))
    objects = MemoryObjects()
    Registry(objects, "bucket", manifest.name).publish(directory)

    models = RegistryModels(objects, "bucket", DEFAULT_DIRECTORY, load_predictor, workers=1)
    learnt = models.pinned("learnt").learnt
    assert learnt is not None
    assert photo_digest(b"a photo") in learnt
    assert photo_digest(b"another") not in learnt
    # One that does not say.
    assert models.pinned(manifest.version).learnt is None
    place = models.pinned("learnt").vocabulary.find("article_type", " tshirts")
    assert manifest.heads["article_type"][place or 0] == "Tshirts"


def _accuracy(answers: Mapping[str, NDArray[np.float32]], classes: NDArray[np.uint8]) -> float:
    return float((answers["article_type"].argmax(axis=1) == classes).mean())


@pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_the_accuracy_on_the_whole_official_test_split(litert: Predictor) -> None:
    photos, classes = fashion_mnist.load("test")
    figures = load_manifest(DEFAULT_DIRECTORY).figures

    size = litert.image_size
    published = np.stack([to_array(Image.fromarray(photo).convert("RGB"), size) for photo in photos])
    delivered = np.stack(
        [to_array(decode(jpeg(Image.fromarray(photo), JPEG_QUALITY)), size) for photo in photos]
    )

    # The card's figures, but for a photo or two: another processor may round otherwise.
    right = _accuracy(litert.predict(published).probabilities, classes)
    assert right >= 0.945
    assert right == pytest.approx(figures["article_type.accuracy"], abs=0.001)
    right = _accuracy(litert.predict(delivered).probabilities, classes)
    assert right == pytest.approx(figures["article_type.delivered.accuracy"], abs=0.001)
