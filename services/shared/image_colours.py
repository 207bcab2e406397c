"""Converts photos that embed an ICC profile to sRGB.

Every iPhone photo is Display P3, and a wide-gamut red that is read as sRGB looks brown. Only embedded ICC
profiles count: PNGs that have a cICP, gAMA or cHRM chunk instead are read as sRGB. cICP marks HDR frames,
which need tone mapping rather than a profile, and programs that still write gAMA write the value of sRGB.
"""

import io
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 1024 * 1024  # a printer's, the largest kind, has up to 2 MB
CACHED = 64  # conversions; one for a printer's profile takes 0.5 MB
ALIKE = 2  # levels of 255 by which a profile may differ from sRGB and still count as sRGB

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# ICC's colour space -> Pillow's mode; and the modes of pictures that such a profile can describe.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_GREYS = ("L", "LA", "La", "1", "I;16", "I")
_READ_AS = {
    "RGB": ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", *_GREYS),
    "L": _GREYS,
    "CMYK": ("CMYK",),
}

# White and black of each mode, one pixel each.
_EXTREMES = {
    "RGB": (Image.new("RGB", (1, 1), "white"), Image.new("RGB", (1, 1), "black")),
    "L": (Image.new("L", (1, 1), 255), Image.new("L", (1, 1), 0)),
    "CMYK": (Image.new("CMYK", (1, 1), (0, 0, 0, 0)), Image.new("CMYK", (1, 1), (0, 0, 0, 255))),
}


@dataclass(frozen=True)
class Conversion:
    """Converts from a profile's colours to sRGB; from any number of threads at once."""

    mode: str  # of the pixels that it reads: RGB, L or CMYK
    _transform: ImageCms.ImageCmsTransform

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture in sRGB, mode RGB, without its transparency."""
        return self._transform.apply(image if image.mode == self.mode else image.convert(self.mode))


_cached: OrderedDict[bytes, Conversion | None] = OrderedDict()
_lock = Lock()


def conversion(image: Image.Image) -> Conversion | None:
    """How to convert the picture to sRGB; None if it is sRGB, or has no usable profile.

    A broken profile, or one for another kind of pixels, never fails a photo: the photo is read as sRGB.
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
    # Two threads may build the same conversion at once. That costs less than to make others wait.
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
        # LittleCMS and Pillow raise OSError, ValueError, KeyError and others on bytes that are not a profile.
        return None


def _is_srgb(made: Conversion) -> bool:
    """Tried on colours from all over the cube, because there are dozens of different sRGB profiles."""
    if made.mode != "RGB":
        return False
    steps = range(0, 256, 51)
    cube = bytes(level for red in steps for green in steps for blue in steps for level in (red, green, blue))
    converted = made(Image.frombytes("RGB", (len(cube) // 3, 1), cube)).tobytes()
    return max(abs(before - after) for before, after in zip(cube, converted, strict=True)) <= ALIKE


def _is_absurd(made: Conversion) -> bool:
    """Whether white becomes dark or black light: no camera, screen or printer has such a profile."""
    lightest, darkest = (made(extreme).tobytes() for extreme in _EXTREMES[made.mode])
    return min(lightest) < 192 or max(darkest) > 96
