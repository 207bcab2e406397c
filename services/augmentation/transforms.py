"""The augmentations, on Pillow images. All randomness comes from the seed."""

import io
import random

from PIL import Image, ImageEnhance, ImageFilter

from services.shared.events import Augmentation, ColourJitter, Cropping, Resize

JPEG_QUALITY = 95


def augment(photo: Image.Image, augmentation: Augmentation, seed: str) -> Image.Image:
    """One variant of an RGB photo.

    Args:
        photo: RGB.
        augmentation: what to do; its steps run in the order of its fields.
        seed: the same seed gives the same pixels.

    """
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    if augmentation.cropping:
        photo = _crop(photo, augmentation.cropping, augmentation.resize, draw)
    if augmentation.resize:
        photo = photo.resize(
            (augmentation.resize.width, augmentation.resize.height), Image.Resampling.BICUBIC
        )
    if augmentation.flip:
        if draw.random() < augmentation.flip.horizontal:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if draw.random() < augmentation.flip.vertical:
            photo = photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if augmentation.rotation:
        degrees = draw.uniform(-augmentation.rotation.degrees, augmentation.rotation.degrees)
        photo = photo.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=border_colour(photo))
    if augmentation.colour_jitter:
        photo = _jitter(photo, augmentation.colour_jitter, draw)
    if augmentation.blur:
        photo = photo.filter(ImageFilter.GaussianBlur(draw.uniform(0, augmentation.blur.radius)))
    return photo


def encode(photo: Image.Image) -> bytes:
    """A JPEG of the photo."""
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def border_colour(photo: Image.Image) -> tuple[int, int, int]:
    """The mean colour of the four corners: on a product photo, its background."""
    right, bottom = photo.width - 1, photo.height - 1
    corners = [photo.getpixel(corner) for corner in ((0, 0), (right, 0), (0, bottom), (right, bottom))]
    red, green, blue = (round(sum(channel) / 4) for channel in zip(*corners, strict=True))
    return red, green, blue


def _crop(photo: Image.Image, cropping: Cropping, resize: Resize | None, draw: random.Random) -> Image.Image:
    """A window of random height; where the photo is smaller than the window, as much as there is."""
    target = resize or photo
    height = draw.randint(cropping.height.min, cropping.height.max)
    width = max(1, round(height * target.width / target.height))
    height, width = min(height, photo.height), min(width, photo.width)
    left, top = draw.randint(0, photo.width - width), draw.randint(0, photo.height - height)
    return photo.crop((left, top, left + width, top + height))


def _jitter(photo: Image.Image, jitter: ColourJitter, draw: random.Random) -> Image.Image:
    for enhance, strength in (
        (ImageEnhance.Brightness, jitter.brightness),
        (ImageEnhance.Contrast, jitter.contrast),
        (ImageEnhance.Color, jitter.saturation),
    ):
        photo = enhance(photo).enhance(draw.uniform(1 - strength, 1 + strength))
    shift = round(255 * draw.uniform(-jitter.hue, jitter.hue))
    if shift:
        hue, saturation, value = photo.convert("HSV").split()
        hue = hue.point(lambda angle: (angle + shift) % 256)
        photo = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return photo
