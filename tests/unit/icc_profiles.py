"""Profiles of other colour spaces, as small as ICC.1:2001 allows, and pictures that are in them."""

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageCms

# Primaries and white of a space, as x and y (CIE 1931), and the exponent of its levels.
type Space = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float], float]
D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
ADOBE_RGB: Space = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65, 563 / 256)
DISPLAY_P3: Space = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65, 2.2)
PROPHOTO: Space = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), D50, 1.8)

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def rgb_profile(space: Space) -> bytes:
    """A profile of a matrix and a curve."""
    *primaries, white, gamma = space
    columns = np.array([_xyz(*point) for point in primaries]).T
    scaled = columns * np.linalg.solve(columns, _xyz(*white))
    cone = _BRADFORD @ _xyz(*D50) / (_BRADFORD @ _xyz(*white))
    red, green, blue = (np.linalg.inv(_BRADFORD) @ np.diag(cone) @ _BRADFORD @ scaled).T
    curve = _curve(gamma)
    return _profile(
        b"RGB ",
        b"XYZ ",
        {
            **{b"rXYZ": _tag_xyz(red), b"gXYZ": _tag_xyz(green), b"bXYZ": _tag_xyz(blue)},
            **{b"rTRC": curve, b"gTRC": curve, b"bTRC": curve},
        },
    )


def grey_profile(gamma: float) -> bytes:
    """A profile of greys with this exponent."""
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile() -> bytes:
    """A printer's profile: a table of the colours of a magazine's inks and of their mixtures."""
    # L, a and b of each ink alone on paper, about as ISO 12647-2 has them.
    inks = np.array([(55, -37, -50), (48, 74, -3), (89, -5, 93), (16, 0, 0)], float)
    paper = np.array((95, 0, -2), float)
    nodes = []
    for node in range(16):
        used = [ink for number, ink in enumerate(inks) if node >> (3 - number) & 1]
        # Inks over each other take away light one after the other.
        light = paper[0] * np.prod([ink[0] / 100 for ink in used]) if used else paper[0]
        tint = np.sum([ink[1:] for ink in used], axis=0) / max(1, len(used)) if used else paper[1:]
        nodes.append((light * 255 / 100, *(tint + 128)))
    grid = bytes(round(float(np.clip(value, 0, 255))) for node in nodes for value in node)
    identity = bytes(range(256))
    table = struct.pack(">4sI4B9i", b"mft1", 0, 4, 3, 2, 0, *np.ravel(np.eye(3, dtype=int) * 65536).tolist())
    table += identity * 4 + grid + identity * 3
    return _profile(b"CMYK", b"Lab ", {b"A2B0": table, b"A2B1": table}, device=b"prtr")


def in_space(image: Image.Image, profile: bytes) -> Image.Image:
    """An sRGB picture with the levels that it has in another space."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.ImageCmsTransform(
        srgb, target, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
    ).apply(image)


def _xyz(x: float, y: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.array((x / y, 1.0, (1 - x - y) / y))


def _tag_xyz(values: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> bytes:
    return struct.pack(">4sI3i", b"XYZ ", 0, *(round(float(value) * 65536) for value in values))


def _curve(gamma: float) -> bytes:
    return struct.pack(">4sIIH", b"curv", 0, 1, round(gamma * 256))


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes], device: bytes = b"mntr") -> bytes:
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0", b"wtpt": _tag_xyz(_xyz(*D50))} | tags
    directory, bodies, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        directory += struct.pack(">4sII", name, start + len(bodies), len(body))
        bodies += padded
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4s8sI12s4s44s",
        start + len(bodies),
        *(
            b"",
            0x02400000,
            device,
            space,
            connection,
            struct.pack(">6H", 2026, 1, 1, 0, 0, 0),
            b"acsp",
            b"",
            0,
        ),
        *(b"", b"", b"", 0, struct.pack(">3i", 63190, 65536, 54061), b"", b""),
    )
    return header + directory + bodies
