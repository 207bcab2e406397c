"""Converts a photo's colours to sRGB where it embeds an ICC profile of another colour space.

Every iPhone photo is Display P3, and a red of a wide gamut that is read as sRGB looks brown. Only embedded ICC
profiles count: a PNG that has a cICP, gAMA or cHRM chunk and no profile is read as sRGB. cICP is for HDR video
frames, which need tone mapping rather than a profile, and what still writes gAMA writes sRGB's.
"""

import io
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 1024 * 1024  # a printer's, the largest kind, has up to 2 MB
CACHED = 64  # conversions; one of a printer's profile has 0.5 MB
ALIKE = 2  # levels of 255 by which a profile may differ from sRGB and still be called that

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# ICC's colour space -> Pillow's mode of it, and the pictures that can be read so.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_GREYS = ("L", "LA", "La", "1", "I;16", "I")
_READ_AS = {
    "RGB": ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", *_GREYS),
    "L": _GREYS,
    "CMYK": ("CMYK",),
}


@dataclass(frozen=True)
class Conversion:
    """From a profile's colours to sRGB; from any number of threads at once."""

    mode: str  # of the pixels that it takes: RGB, L or CMYK
    _transform: ImageCms.ImageCmsTransform

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture in sRGB, mode RGB; its transparency is left out."""
        return self._transform.apply(image if image.mode == self.mode else image.convert(self.mode))


_cached: OrderedDict[bytes, Conversion | None] = OrderedDict()
_lock = Lock()


def conversion(image: Image.Image) -> Conversion | None:
    """How the picture's pixels become sRGB; None where they are, or where its profile does not serve.

    A profile that is broken, or not of such pixels, never fails a photo: it is read as sRGB, as browsers do.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= MAX_PROFILE_BYTES:
        return None
    made = _of(profile)
    return made if made is not None and image.mode in _READ_AS[made.mode] else None


def _of(profile: bytes) -> Conversion | None:
    digest = sha256(profile).digest()
    with _lock:
        if digest in _cached:
            _cached.move_to_end(digest)
            return _cached[digest]
    # Two threads may make the same one at once, which costs less than to make others wait.
    made = _made(profile)
    with _lock:
        _cached[digest] = made
        while len(_cached) > CACHED:
            _cached.popitem(last=False)
    return made


def _made(profile: bytes) -> Conversion | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES[source.profile.xcolor_space.strip()]
        transform = ImageCms.ImageCmsTransform(
            source,
            _SRGB,
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        made = Conversion(mode, transform)
        return None if _is_srgb(made) or _is_absurd(made) else made
    except Exception:
        # LittleCMS and Pillow raise OSError, ValueError, KeyError and others on what is no profile of pixels.
        return None


def _is_srgb(made: Conversion) -> bool:
    """By what it does to colours from all over the cube: there are dozens of files that are called sRGB."""
    if made.mode != "RGB":
        return False
    steps = range(0, 256, 51)
    cube = bytes(level for red in steps for green in steps for blue in steps for level in (red, green, blue))
    converted = made(Image.frombytes("RGB", (len(cube) // 3, 1), cube)).tobytes()
    return max(abs(before - after) for before, after in zip(cube, converted, strict=True)) <= ALIKE


def _is_absurd(made: Conversion) -> bool:
    """Whether white does not stay light and black dark, as in no profile of a camera, screen or printer."""
    white, black = {"RGB": ("white", "black"), "L": (255, 0), "CMYK": ((0, 0, 0, 0), (0, 0, 0, 255))}[made.mode]
    lightest, darkest = (made(Image.new(made.mode, (1, 1), colour)).tobytes() for colour in (white, black))
    return min(lightest) < 192 or max(darkest) > 96
