"""What the model that ships is trained on: real photos of Fashion-MNIST, some of them tinted, and drawings.

Fashion-MNIST's official test split is the test side and nothing else. Origins, whose figures are never mixed:

    photo      a real photo as published
    delivered  a real photo by the way of a catalogue's photos: saved as JPEG, read by the pipeline's decoder
    tinted     a real photo that a program coloured
    drawn      a packshot that a program drew
"""

import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from services.model.preprocessing import to_array
from services.shared.images import decode
from services.training import fashion_mnist
from services.training.examples import Example, LeftOut, Side
from services.training.packshots import BASE_COLOURS, GARMENTS, Packshot, Seed, packshots, shade_of

# Fashion-MNIST's ten types first, then those that are only drawn.
HEADS: Mapping[str, Sequence[str]] = {
    "article_type": (
        *fashion_mnist.ARTICLE_TYPES,
        *(garment for garment in GARMENTS if garment not in fashion_mnist.ARTICLE_TYPES),
    ),
    "base_colour": tuple(BASE_COLOURS),
}
JPEG_QUALITY = 90
TRAINING_QUALITIES = (60, 96)


class DemoSource:
    """The training split, with some of it held back to choose by, tinted photos and drawings; the test split.

    Args:
        validate: real photos of the training split that are held back.
        tinted: photos of the training split that are tinted, beside being there as they are.
        drawings: packshots to train on.
        tested: tinted test photos, and as many drawings of their own seed.

    """

    def __init__(self, validate: int, tinted: int, drawings: int, tested: int) -> None:
        self._validate, self._tinted, self._drawings, self._tested = validate, tinted, drawings, tested

    @property
    def heads(self) -> Mapping[str, Sequence[str]]:
        """As `services.training.examples.Source`."""
        return HEADS

    @property
    def several(self) -> Mapping[str, Sequence[str]]:
        """As `services.training.examples.Source`."""
        return {}

    @property
    def applies_to(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """As `services.training.examples.Source`."""
        return {}

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """As `services.training.examples.Source`."""
        only_drawn = [kind for kind in HEADS["article_type"] if kind not in fashion_mnist.ARTICLE_TYPES]
        return [LeftOut(f"article_type {', '.join(only_drawn)}", len(only_drawn), "only drawings, no photos")]

    @property
    def description(self) -> Mapping[str, str]:
        """As `services.training.examples.Source`."""
        return {
            "kind": "fashion-mnist",
            "validate": str(self._validate),
            "tinted": str(self._tinted),
            "drawings": str(self._drawings),
            "tested": str(self._tested),
        }

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        """As `services.training.examples.Source`."""
        for side, key, image, article_type, colour, origin in self._images():
            labels = {"article_type": HEADS["article_type"].index(article_type)}
            # What colour a garment has that was photographed in grey cannot be known.
            if colour is not None:
                labels["base_colour"] = HEADS["base_colour"].index(colour)
            yield side, Example(key, to_array(image, image_size), labels, origin, None)

    def _images(self) -> Iterator[tuple[Side, str, Image.Image, str, str | None, str]]:
        """Training data in one random order, so that every shard has some of each kind."""
        draw = np.random.default_rng(0)
        photos, classes = fashion_mnist.load("train")
        order = draw.permutation(len(photos))
        held, used = order[: self._validate], order[self._validate :]
        lots = [("photo", int(index)) for index in used]
        lots += [("tinted", int(index)) for index in draw.choice(used, self._tinted, replace=False)]
        lots += [("drawn", index) for index in range(self._drawings)]
        drawings = packshots(self._drawings, Seed.TRAINING)
        for lot in draw.permutation(len(lots)):
            kind, index = lots[lot]
            if kind == "drawn":
                quality = int(draw.integers(*TRAINING_QUALITIES))
                yield _drawn("train", f"drawn-train-{index}", next(drawings), quality)
                continue
            article_type = fashion_mnist.ARTICLE_TYPES[classes[index]]
            name = f"fashion-mnist-train-{index}"
            if kind == "tinted":
                yield _tinted("train", f"{name}-tinted", photos[index], article_type, draw)
            else:
                image = Image.fromarray(photos[index]).convert("RGB")
                if draw.random() < 0.5:
                    image = decode(jpeg(image, int(draw.integers(*TRAINING_QUALITIES))))
                yield "train", name, image, article_type, None, "photo"
        for index in held:
            article_type = fashion_mnist.ARTICLE_TYPES[classes[index]]
            name = f"fashion-mnist-train-{index}-delivered"
            yield "validate", name, _delivered(photos[index]), article_type, None, "delivered"

        photos, classes = fashion_mnist.load("test")
        for index, (photo, kind) in enumerate(zip(photos, classes, strict=True)):
            article_type = fashion_mnist.ARTICLE_TYPES[kind]
            name = f"fashion-mnist-test-{index}"
            yield "test", name, Image.fromarray(photo).convert("RGB"), article_type, None, "photo"
            yield "test", f"{name}-delivered", _delivered(photo), article_type, None, "delivered"
            if index < self._tested:
                yield _tinted("test", f"{name}-tinted", photo, article_type, draw)
        for index, shot in enumerate(packshots(self._tested, Seed.TEST)):
            yield _drawn("test", f"drawn-test-{index}", shot, JPEG_QUALITY)


def tint(photo: NDArray[np.uint8], colour: str, draw: Generator) -> Image.Image:
    """Colour a grey garment [height, width]; its relief and the white ground stay."""
    brightness = photo / 255
    # The ground is exactly white, and one pixel of edge is a mixture of both.
    garment = np.clip((1 - brightness) * 10, 0, 1)
    relief = (brightness - np.average(brightness, weights=garment + 1e-6)) * draw.uniform(0.4, 0.8)
    cloth = shade_of(colour, draw) + relief[..., np.newaxis]
    mixed = 1 - garment[..., np.newaxis] * (1 - cloth)
    return Image.fromarray(np.round(mixed * 255).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The photo as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _delivered(photo: NDArray[np.uint8]) -> Image.Image:
    return decode(jpeg(Image.fromarray(photo), JPEG_QUALITY))


def _tinted(
    side: Side, key: str, photo: NDArray[np.uint8], article_type: str, draw: Generator
) -> tuple[Side, str, Image.Image, str, str, str]:
    colour = str(draw.choice(list(BASE_COLOURS)))
    return side, key, tint(photo, colour, draw), article_type, colour, "tinted"


def _drawn(
    side: Side, key: str, shot: Packshot, quality: int
) -> tuple[Side, str, Image.Image, str, str, str]:
    return side, key, decode(jpeg(shot.image, quality)), shot.article_type, shot.base_colour, "drawn"
