"""The shipped model: the same answers by both predictors and from any thread, as good as its card says."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
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
from services.shared.catalogue_files import read_catalogue
from services.shared.errors import ImageError
from services.shared.images import decode
from services.shared.layout import digest
from services.shared.memory import MemoryObjects
from services.training import fashion_mnist
from services.training.demo_catalogue import DEMO, FIRST_ID
from services.training.foreign import foreign_images

VITRINE_DATA = os.environ.get("VITRINE_DATA", "")
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
    assert litert.labels == saved_model.labels == load_manifest(DEFAULT_DIRECTORY).heads


def test_both_give_the_same_labels_on_the_real_photos(
    litert: Predictor, saved_model: Predictor, photos: NDArray[np.uint8]
) -> None:
    real = photos[:REAL_PHOTOS]
    one, other = litert.predict(real).probabilities, saved_model.predict(real).probabilities

    assert _agreement(one["article_type"], other["article_type"]) >= MIN_AGREEMENT
    assert np.abs(one["article_type"] - other["article_type"]).mean() < 0.005


def test_both_give_nearly_the_same_answers_on_the_drawings(
    litert: Predictor, saved_model: Predictor, photos: NDArray[np.uint8]
) -> None:
    drawn = photos[REAL_PHOTOS:]
    one, other = litert.predict(drawn).probabilities, saved_model.predict(drawn).probabilities

    # The bundled model never learnt drawings, and is unsure of many: rounding decides more often.
    for head in one:
        assert (one[head].argmax(axis=1) == other[head].argmax(axis=1)).mean() >= 0.95
        assert np.abs(one[head] - other[head]).mean() < 0.005


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
        # The decoder's sums depend on the size of the batch, in the last digit.
        one_by_one = np.concatenate([one[head] for one in parallel])
        np.testing.assert_allclose(one_by_one, probabilities, rtol=1e-5, atol=1e-6)


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
            if kind != "faces":  # grey, of 25x25 pixels: as coarse as photos that the bundled model learnt
                # The threshold leaves people's snapshots alone, and with them part of these.
                assert foreign.mean() > max(0.25, 10 * familiar.mean())


def test_a_model_without_embeddings_of_its_training_photos_cannot_tell(tmp_path: Path) -> None:
    directory = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "model")
    manifest = load_manifest(directory)
    files = {name: digest for name, digest in manifest.files.items() if name != FAMILIARITY_FILE}
    save_manifest(directory, manifest.model_copy(update={"files": files}))

    size = manifest.image_size
    assert load_predictor(directory).predict(np.zeros((1, size, size, 3), np.uint8)).unfamiliar is None


def test_a_published_version_knows_the_photos_that_it_was_trained_on(tmp_path: Path) -> None:
    manifest = load_manifest(DEFAULT_DIRECTORY)
    objects = MemoryObjects()
    registry = Registry(objects, "bucket", manifest.name)

    def publish(version: str, learnt: Learnt | None) -> None:
        directory = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / version)
        files = {name: digest for name, digest in manifest.files.items() if name != LEARNT_FILE}
        if learnt is not None:
            learnt.save(directory / LEARNT_FILE)
            files |= digests(directory, [LEARNT_FILE])
        save_manifest(directory, manifest.model_copy(update={"files": files, "version": version}))
        registry.publish(directory)

    publish("learnt", Learnt.of([photo_digest(b"a photo")]))
    publish("silent", None)

    models = RegistryModels(objects, "bucket", DEFAULT_DIRECTORY, load_predictor, workers=1)
    learnt = models.pinned("learnt").learnt
    assert learnt is not None
    assert photo_digest(b"a photo") in learnt
    assert photo_digest(b"another") not in learnt
    assert models.pinned("silent").learnt is None
    place = models.pinned("learnt").vocabulary.find("article_type", " tshirts")
    assert manifest.heads["article_type"][place or 0] == "Tshirts"


def _accuracy(predictor: Predictor, photos: NDArray[np.uint8], shown: Sequence[str]) -> float:
    answers = predictor.predict(photos).probabilities["article_type"].argmax(axis=1)
    labels = predictor.labels["article_type"]
    return float(np.mean([labels[answer] == label for answer, label in zip(answers, shown, strict=True)]))


def _at_least(figure: float, photos: int) -> float:
    """What a sample of photos reaches if the figure is true, but for one sample in some thousands."""
    return figure - 3.5 * sqrt(figure * (1 - figure) / photos)


@pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_it_is_as_good_on_grey_photos_as_its_card_says(litert: Predictor) -> None:
    photos, classes = fashion_mnist.load("test")
    some = slice(0, 2000)
    size = litert.image_size
    pixels = np.stack([to_array(Image.fromarray(photo).convert("RGB"), size) for photo in photos[some]])
    shown = [fashion_mnist.ARTICLE_TYPES[place] for place in classes[some]]

    figure = load_manifest(DEFAULT_DIRECTORY).figures["article_type.grey_photo.accuracy"]
    assert _accuracy(litert, pixels, shown) >= _at_least(figure, len(shown))


@pytest.mark.skipif(not VITRINE_DATA, reason="VITRINE_DATA does not name the folder of the public data sets")
def test_it_is_as_good_on_products_it_has_not_learnt_as_its_card_says(litert: Predictor) -> None:
    catalogue = read_catalogue(Path(VITRINE_DATA) / "fashion-product-images-small.zip")
    learnt = Learnt.load(DEFAULT_DIRECTORY / LEARNT_FILE)
    pixels, shown = [], []
    # As the hash of its id comes, so that those that are looked at are of all years and types.
    for product in sorted(catalogue.products, key=lambda product: digest(product.product_id)):
        data = catalogue.photo(product)
        article_type = product.value("article_type")
        if data and article_type and photo_digest(data) not in learnt:
            pixels.append(to_array(decode(data), litert.image_size))
            shown.append(article_type)
        if len(shown) == 600:
            break

    figure = load_manifest(DEFAULT_DIRECTORY).figures["article_type.accuracy_of_labelled"]
    assert figure > 0.85
    assert _accuracy(litert, np.stack(pixels), shown) >= _at_least(figure, len(shown))
