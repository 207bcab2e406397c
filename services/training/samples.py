"""Training samples: photos as the network will be given them, and what is known of each."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from services.model.preprocessing import to_array
from services.shared.images import decode
from services.training import fashion_mnist
from services.training.packshots import BASE_COLOURS, GARMENTS, Seed, packshots, shade_of

IMAGE_SIZE = 112

# Fashion-MNIST's ten types first, then those that are only drawn.
HEADS: Mapping[str, Sequence[str]] = {
    "article_type": (
        *fashion_mnist.ARTICLE_TYPES,
        *(garment for garment in GARMENTS if garment not in fashion_mnist.ARTICLE_TYPES),
    ),
    "base_colour": tuple(BASE_COLOURS),
}

# The target of a head of which nothing is known: it takes no part in the loss.
UNKNOWN = -1


@dataclass(frozen=True)
class Samples:
    """Pixels [N, IMAGE_SIZE, IMAGE_SIZE, 3] and per head the index of the true label [N], or UNKNOWN."""

    pixels: NDArray[np.uint8]
    targets: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.pixels)


def concatenate(parts: Sequence[Samples]) -> Samples:
    """All samples of all parts, in order."""
    return Samples(
        np.concatenate([part.pixels for part in parts]),
        {head: np.concatenate([part.targets[head] for part in parts]) for head in HEADS},
    )


def real_photos(photos: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Samples:
    """Fashion-MNIST as it is. What colour a garment has that was photographed in grey cannot be known."""
    return _samples(
        (Image.fromarray(photo).convert("RGB"), int(kind), UNKNOWN)
        for photo, kind in zip(photos, classes, strict=True)
    )


def delivered_photos(photos: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Samples:
    """Fashion-MNIST by the way of a catalogue's photos: saved as JPEGs, read by the pipeline's decoder."""
    return _samples(
        (decode(jpeg(Image.fromarray(photo), 90)), int(kind), UNKNOWN)
        for photo, kind in zip(photos, classes, strict=True)
    )


def varied_photos(photos: NDArray[np.uint8], classes: NDArray[np.uint8], seed: int, tinted: float) -> Samples:
    """Fashion-MNIST as other photographers might have delivered it: mirrored, moved, cropped, compressed.

    The share `tinted` of the photos is coloured, and with it has a known colour.
    """
    rng = np.random.default_rng(seed)

    def vary(photo: NDArray[np.uint8], kind: int) -> tuple[Image.Image, int, int]:
        colour = int(rng.integers(len(BASE_COLOURS))) if rng.random() < tinted else UNKNOWN
        image = Image.fromarray(photo).convert("RGB") if colour == UNKNOWN else tint(photo, colour, rng)
        return _vary(image, rng), kind, colour

    return _samples(vary(photo, int(kind)) for photo, kind in zip(photos, classes, strict=True))


def drawn_packshots(count: int, seed: Seed) -> Samples:
    """Drawings, compressed as a catalogue's photos are."""
    rng = np.random.default_rng(seed)
    types, colours = HEADS["article_type"], HEADS["base_colour"]
    return _samples(
        (
            decode(jpeg(shot.image, int(rng.integers(60, 96)))),
            types.index(shot.article_type),
            colours.index(shot.base_colour),
        )
        for shot in packshots(count, seed)
    )


def tint(photo: NDArray[np.uint8], colour: int, rng: Generator) -> Image.Image:
    """Colour a grey garment [height, width]; its relief and the white ground stay."""
    brightness = photo / 255
    # The ground is exactly white, and one pixel of edge is a mixture of both.
    garment = np.clip((1 - brightness) * 10, 0, 1)
    relief = (brightness - np.average(brightness, weights=garment + 1e-6)) * rng.uniform(0.4, 0.8)
    cloth = shade_of(list(BASE_COLOURS)[colour], rng) + relief[..., np.newaxis]
    mixed = 1 - garment[..., np.newaxis] * (1 - cloth)
    return Image.fromarray(np.round(mixed * 255).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The photo as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _vary(image: Image.Image, rng: Generator) -> Image.Image:
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.7:
        # A frame around 85 to 108 % of the photo, a little off centre; what lies outside is the white ground.
        side = image.width * rng.uniform(0.85, 1.08)
        left, top = (image.width - side) / 2 + rng.uniform(-0.05, 0.05, 2) * image.width
        affine = (side / image.width, 0, left, 0, side / image.width, top)
        image = image.transform(
            image.size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255)
        )
    if rng.random() < 0.5:
        image = decode(jpeg(image, int(rng.integers(70, 96))))
    return image


def _samples(labelled: Iterable[tuple[Image.Image, int, int]]) -> Samples:
    pixels, types, colours = zip(
        *((to_array(image, IMAGE_SIZE), article_type, colour) for image, article_type, colour in labelled),
        strict=True,
    )
    return Samples(np.stack(pixels), {"article_type": np.array(types), "base_colour": np.array(colours)})
