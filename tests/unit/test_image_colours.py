"""Photos with an embedded profile come out in sRGB, whatever the profile, the file format and the size."""

import gc
import io
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from services.shared.image_colours import CACHED, MAX_PROFILE_BYTES, conversion
from services.shared.images import LARGE_PIXELS, decode
from tests.unit.icc_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    Space,
    cmyk_profile,
    grey_profile,
    in_space,
    rgb_profile,
)
from tests.unit.photos import encoded
from tests.unit.test_images import difference, pixels, scene

SPACES = {"adobe_rgb": ADOBE_RGB, "display_p3": DISPLAY_P3, "prophoto": PROPHOTO}
# The same picture in two spaces differs by so many levels of 255 on average: by rounding if the file keeps
# each pixel, else by what the codec loses. Without a conversion, it differs by at least UNCONVERTED.
LOSSLESS, LOSSY = 1.0, 3.0
UNCONVERTED = 7.0


@cache
def wide(space: str, width: int = 64, height: int = 48) -> Image.Image:
    return in_space(scene(width, height), rgb_profile(SPACES[space]))


FINE: Mapping[str, Mapping[str, object]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIC": {"quality": 95, "chroma": 444},
}


@pytest.mark.parametrize("kind", FINE)
@pytest.mark.parametrize("space", SPACES)
def test_a_wide_gamut_photo_looks_as_it_does_in_srgb(space: str, kind: str) -> None:
    image = wide(space)
    profile = rgb_profile(SPACES[space])
    image.info["icc_profile"] = profile
    data = encoded(image, kind, icc_profile=profile, **FINE[kind])
    assert difference(decode(data), scene()) <= (LOSSLESS if kind in ("PNG", "WEBP") else LOSSY)
    assert difference(image, scene()) >= UNCONVERTED


@pytest.mark.parametrize(
    ("space", "red"),
    [(ADOBE_RGB, (219, 0, 0)), (PROPHOTO, (179, 70, 26))],
    ids=["adobe_rgb", "prophoto"],
)
def test_a_known_red_is_pure_red(space: Space, red: tuple[int, int, int]) -> None:
    """The levels of sRGB's red in these spaces are published."""
    data = encoded(Image.new("RGB", (4, 4), red), "PNG", icc_profile=rgb_profile(space))
    assert np.abs(pixels(decode(data)) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("about", [28, 100, 224])
@pytest.mark.parametrize("space", SPACES)
def test_a_smaller_decode_is_converted_too(space: str, about: int) -> None:
    options = {"quality": 95, "subsampling": 0}
    narrow = decode(encoded(scene(1600, 1200), "JPEG", **options), about=about)
    data = encoded(wide(space, 1600, 1200), "JPEG", icc_profile=rgb_profile(SPACES[space]), **options)
    assert difference(decode(data, about=about), narrow) <= LOSSLESS


@pytest.mark.parametrize("about", [None, 100])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_large_photo_is_converted_in_bands(mode: str, about: int | None) -> None:
    size = (2400, 1800)
    assert size[0] * size[1] > LARGE_PIXELS
    profile = rgb_profile(DISPLAY_P3)
    data = encoded(wide("display_p3", *size).convert(mode), "PNG", icc_profile=profile, compress_level=1)
    image = decode(data, about=about)
    assert difference(image, decode(encoded(scene(*size), "PNG", compress_level=1), about=about)) <= LOSSLESS


def test_a_turned_photo_is_converted_and_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = wide("prophoto").transpose(Image.Transpose.ROTATE_90)
    data = encoded(stored, "JPEG", exif=exif, icc_profile=rgb_profile(PROPHOTO), quality=95, subsampling=0)
    assert difference(decode(data), scene()) <= LOSSY


def test_what_is_transparent_is_white_in_any_space() -> None:
    image = wide("prophoto").convert("RGBA")
    image.paste((10, 20, 30, 0), (0, 0, 32, 48))
    decoded = decode(encoded(image, "PNG", icc_profile=rgb_profile(PROPHOTO)))
    assert set(decoded.crop((0, 0, 32, 48)).get_flattened_data()) == {(255, 255, 255)}
    right = (32, 0, 64, 48)
    assert difference(decoded.crop(right), scene().crop(right)) <= LOSSLESS


def test_a_palette_is_converted() -> None:
    few = scene().quantize(16, dither=Image.Dither.NONE)
    profile = rgb_profile(ADOBE_RGB)
    palette = Image.frombytes("RGB", (16, 1), bytes((few.getpalette() or [])[:48]).ljust(48, b"\0"))
    image = few.copy()
    image.putpalette(in_space(palette, profile).tobytes())
    assert difference(decode(encoded(image, "PNG", icc_profile=profile)), few.convert("RGB")) <= LOSSLESS


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_greys_of_another_curve_are_converted(mode: str) -> None:
    """A linear level of 55 is 128 in sRGB."""
    level: dict[str, float | tuple[int, ...]] = {"L": 55, "LA": (55, 255), "I;16": 55 * 257}
    data = encoded(Image.new(mode, (4, 4), level[mode]), "PNG", icc_profile=grey_profile(1.0))
    assert np.abs(pixels(decode(data)) - 128).max() <= 1


@pytest.mark.parametrize(
    ("inks", "colour"),
    [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 144, 210)), ((0, 255, 0, 0), (209, 0, 116))],
    ids=["paper", "cyan", "magenta"],
)
def test_the_inks_of_a_printer_are_converted(inks: tuple[int, ...], colour: tuple[int, ...]) -> None:
    data = encoded(Image.new("CMYK", (16, 16), inks), "JPEG", icc_profile=cmyk_profile(), quality=95)
    assert np.abs(pixels(decode(data)) - np.array(colour)).max() <= 6


def srgb_profiles() -> list[bytes]:
    """Two that are made in different ways, as the many that are about."""
    curve: Space = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290), 2.2)
    return [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), rgb_profile(curve)]


def test_a_profile_of_srgb_itself_changes_no_pixel() -> None:
    profile = srgb_profiles()[0]
    plain, with_profile = encoded(scene(), "JPEG"), encoded(scene(), "JPEG", icc_profile=profile)
    assert difference(decode(plain), decode(with_profile)) == 0
    image = scene().copy()
    image.info["icc_profile"] = profile
    assert conversion(image) is None


def test_a_simple_curve_is_not_taken_for_srgb_where_it_differs() -> None:
    image = Image.new("RGB", (256, 1))
    image.putdata([(level, level, level) for level in range(256)])
    decoded = decode(encoded(image, "PNG", icc_profile=srgb_profiles()[1]))
    assert 3 <= np.abs(pixels(decoded) - pixels(image)).max() <= 10


# ------------------------------------------------------------------------------------- unusable profiles


def lookalike(profile: bytes, offset: int, value: bytes) -> bytes:
    return profile[:offset] + value + profile[offset + len(value) :]


P3 = rgb_profile(DISPLAY_P3)

USELESS = {
    "text": b"this is no profile",
    "empty": b"",
    "header_only": P3[:128],
    "cut": P3[:200],
    "no_signature": lookalike(P3, 36, b"nope"),
    "other_space": lookalike(P3, 16, b"Lab "),
    "no_space": lookalike(P3, 16, b"\xff\xfe\0\x01"),
    "many_tags": lookalike(P3, 128, b"\xff\xff\xff\xff"),
    "tags_beyond_the_end": lookalike(P3, P3.index(b"rXYZ") + 4, b"\x7f\xff\xff\xff"),
    "for_inks": cmyk_profile(),
    "for_greys": grey_profile(1.0),
    "too_large": P3 + bytes(MAX_PROFILE_BYTES),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", USELESS)
def test_a_profile_that_does_not_serve_leaves_the_photo_as_srgb(name: str, kind: str) -> None:
    plain = decode(encoded(scene(), kind))
    assert difference(decode(encoded(scene(), kind, icc_profile=USELESS[name])), plain) == 0


def test_a_profile_that_makes_everything_black_is_not_believed() -> None:
    nothing = bytearray(P3)
    for name in (b"rXYZ", b"gXYZ", b"bXYZ"):
        at = nothing.index(name)
        start = int.from_bytes(nothing[at + 4 : at + 8])
        nothing[start + 8 : start + 20] = bytes(12)
    assert difference(decode(encoded(scene(), "PNG", icc_profile=bytes(nothing))), scene()) == 0


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_profile_of_inks_is_ignored_on_light_and_the_other_way_round(mode: str) -> None:
    image = scene().convert(mode)
    assert difference(decode(encoded(image, "PNG", icc_profile=cmyk_profile())), image.convert("RGB")) == 0
    inks = scene().convert("CMYK")
    assert difference(decode(encoded(inks, "JPEG", icc_profile=P3)), decode(encoded(inks, "JPEG"))) == 0


@settings(max_examples=200, deadline=None)  # to make a printer's conversion takes a while
@given(
    data=st.data(),
    profile=st.sampled_from([P3, rgb_profile(PROPHOTO), grey_profile(2.2), cmyk_profile()]),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
)
def test_a_damaged_profile_never_fails_a_photo(data: st.DataObject, profile: bytes, mode: str) -> None:
    damaged = bytearray(profile)
    # The header and the directory are where most is read from.
    spots = st.one_of(st.integers(0, 300), st.integers(0, len(damaged) - 1))
    for spot, value in data.draw(st.lists(st.tuples(spots, st.integers(0, 255)), min_size=1, max_size=8)):
        damaged[min(spot, len(damaged) - 1)] = value
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    image = decode(encoded(scene().convert(mode), "JPEG", icc_profile=bytes(damaged[:cut])))
    assert (image.mode, image.size) == ("RGB", (64, 48))


# ------------------------------------------------------------------------------------- kept


def with_profile(profile: bytes) -> Image.Image:
    image = Image.new("RGB", (1, 1))
    image.info["icc_profile"] = profile
    return image


def test_a_conversion_is_made_once_for_all_photos_of_a_camera() -> None:
    assert conversion(with_profile(P3)) is conversion(with_profile(bytes(bytearray(P3))))


def test_no_more_than_so_many_conversions_are_kept() -> None:
    first = conversion(with_profile(P3))
    assert first is not None
    kept = weakref.ref(first)
    del first
    for number in range(CACHED):
        # Its copyright differs.
        assert conversion(with_profile(P3.replace(b"none\0", f"{number:04}\0".encode()))) is not None
    gc.collect()
    assert kept() is None


def test_threads_share_a_conversion() -> None:
    data = encoded(wide("prophoto", 400, 300), "PNG", icc_profile=rgb_profile(PROPHOTO))
    expected = decode(data).tobytes()
    with ThreadPoolExecutor(16) as threads:
        assert {image.tobytes() for image in threads.map(decode, [data] * 64)} == {expected}


def test_what_is_decoded_has_no_profile_of_another_space() -> None:
    """Who stores it as a file again must not embed the old one."""
    image = decode(encoded(wide("prophoto"), "PNG", icc_profile=rgb_profile(PROPHOTO)))
    again = io.BytesIO()
    image.save(again, "PNG")
    assert difference(decode(again.getvalue()), scene()) <= LOSSLESS
