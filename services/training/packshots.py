"""Drawn product photos: 16 article types in 14 base colours, on near-white, as a catalogue shows them.

They stand in for types and colours of which no photos may be had freely, and teach the colour head what a
named colour is. Shapes drawn by a program do not teach what real garments look like: figures on these
drawings are never accuracy on photos.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, unique

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

BASE_COLOURS = {
    "Black": (25, 25, 28),
    "White": (240, 240, 238),
    "Grey": (130, 132, 135),
    "Red": (195, 25, 35),
    "Blue": (40, 95, 200),
    "Navy Blue": (22, 32, 80),
    "Green": (35, 140, 60),
    "Olive": (95, 98, 48),
    "Yellow": (240, 210, 40),
    "Orange": (235, 120, 25),
    "Pink": (240, 140, 175),
    "Purple": (110, 45, 140),
    "Brown": (100, 60, 35),
    "Beige": (215, 190, 150),
}

# Tones: 1 is the base colour, below darker, above towards white.
HOLE = -1.0  # the background shows through

SUPERSAMPLING = 3


@unique
class Seed(IntEnum):
    """What drawings are for. Each purpose has its own, so that none is judged by what it was trained on."""

    TRAINING = 1
    TEST = 3
    DEMO = 4


type Point = tuple[float, float]


@dataclass(frozen=True)
class Packshot:
    """A drawn photo and what it shows."""

    image: Image.Image
    article_type: str
    base_colour: str


def packshots(count: int, seed: Seed, size: tuple[int, int] = (60, 80)) -> Iterator[Packshot]:
    """`count` drawings of random types and colours; the n-th of a seed is always the same one."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        article_type = str(rng.choice(list(GARMENTS)))
        base_colour = str(rng.choice(list(BASE_COLOURS)))
        yield draw(article_type, base_colour, rng, size)


def draw(article_type: str, base_colour: str, rng: Generator, size: tuple[int, int] = (60, 80)) -> Packshot:
    """Draw one garment; its cut, pose, light, pattern and shade vary with `rng`. `size`: (width, height)."""
    sketch = Sketch(rng)
    GARMENTS[article_type](sketch)
    width, height = (side * SUPERSAMPLING for side in size)
    tones = _rasterise(sketch.strokes, _pose(rng, width, height), width, height)
    pixels = _light(tones, shade_of(base_colour, rng), rng)
    image = Image.fromarray(np.round(pixels * 255).clip(0, 255).astype(np.uint8))
    return Packshot(image.resize(size, Image.Resampling.BOX), article_type, base_colour)


@dataclass(frozen=True)
class Stroke:
    """A filled polygon, or a line where `width` is set; in the unit square, y downwards."""

    points: Sequence[Point]
    tone: float
    width: float | None = None


@dataclass
class Sketch:
    """Collects a garment's strokes, in the order in which they are painted."""

    rng: Generator
    strokes: list[Stroke] = field(default_factory=list)

    def between(self, low: float, high: float) -> float:
        """A random number."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Whether a random detail is there."""
        return bool(self.rng.random() < probability)

    def polygon(self, *points: Point, tone: float = 1.0) -> None:
        """A piece of cloth; its corners are a little off, as cloth's are."""
        off = self.rng.uniform(-0.008, 0.008, (len(points), 2))
        self.strokes.append(
            Stroke([(x + dx, y + dy) for (x, y), (dx, dy) in zip(points, off, strict=True)], tone)
        )

    def mirrored(self, *left: Point, tone: float = 1.0) -> None:
        """A polygon symmetric about x = 0.5, given its left half from top to bottom."""
        self.polygon(*left, *((1 - x, y) for x, y in reversed(left)), tone=tone)

    def ellipse(self, x: float, y: float, rx: float, ry: float, tone: float = 1.0) -> None:
        """An ellipse about (x, y)."""
        self.strokes.append(Stroke(_ellipse(x, y, rx, ry, 0, 2 * math.pi), tone))

    def dome(self, x: float, y: float, rx: float, ry: float, tone: float = 1.0) -> None:
        """The upper half of an ellipse."""
        self.strokes.append(Stroke(_ellipse(x, y, rx, ry, math.pi, 2 * math.pi), tone))

    def handle(self, x: float, y: float, rx: float, ry: float, width: float, tone: float) -> None:
        """A line along the upper half of an ellipse."""
        self.strokes.append(Stroke(_ellipse(x, y, rx, ry, math.pi, 2 * math.pi), tone, width))

    def line(self, *points: Point, width: float, tone: float) -> None:
        """A seam, a lace, a strap."""
        self.strokes.append(Stroke(points, tone, width))


def _ellipse(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> list[Point]:
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in np.linspace(start, stop, 40)]


# ---- garments --------------------------------------------------------------------------------------------


def _torso(sketch: Sketch, *, long_sleeves: bool) -> float:
    """Body and sleeves of a top; returns where its hem is."""
    side, hem = sketch.between(0.26, 0.31), sketch.between(0.82, 0.92)
    cuff = sketch.between(0.72, 0.85) if long_sleeves else sketch.between(0.36, 0.46)
    outer, inner = (sketch.between(0.08, 0.14), 0.22) if long_sleeves else (0.08, 0.20)
    sketch.mirrored(
        (0.42, 0.13), (side, 0.16), (outer, cuff), (inner, cuff + 0.05), (side + 0.02, 0.40), (side, hem)
    )
    return hem


def _collar(sketch: Sketch) -> None:
    sketch.polygon((0.42, 0.11), (0.50, 0.20), (0.38, 0.24), tone=0.8)
    sketch.polygon((0.58, 0.11), (0.50, 0.20), (0.62, 0.24), tone=0.8)


def _tshirt(sketch: Sketch) -> None:
    _torso(sketch, long_sleeves=False)
    if sketch.chance(0.35):
        sketch.polygon((0.42, 0.12), (0.50, sketch.between(0.22, 0.28)), (0.58, 0.12), tone=HOLE)
    else:
        sketch.ellipse(0.50, 0.12, 0.09, sketch.between(0.05, 0.07), HOLE)
    if sketch.chance(0.4):
        sketch.ellipse(0.50, 0.43, 0.10, 0.07, sketch.between(0.6, 1.4))


def _shirt(sketch: Sketch) -> None:
    hem = _torso(sketch, long_sleeves=sketch.chance(0.8))
    _collar(sketch)
    sketch.line((0.50, 0.20), (0.50, hem), width=0.008, tone=0.55)
    for y in np.linspace(0.27, hem - 0.06, 6):
        sketch.ellipse(0.50, float(y), 0.010, 0.008, 0.4)
    if sketch.chance(0.5):
        sketch.polygon((0.57, 0.33), (0.68, 0.33), (0.68, 0.43), (0.57, 0.43), tone=0.85)


def _jacket(sketch: Sketch) -> None:
    hem = _torso(sketch, long_sleeves=True)
    _collar(sketch)
    sketch.line((0.50, 0.20), (0.50, hem), width=0.02, tone=0.55)
    sketch.polygon((0.30, 0.62), (0.42, 0.60), (0.42, 0.72), (0.30, 0.72), tone=0.8)
    sketch.polygon((0.70, 0.62), (0.58, 0.60), (0.58, 0.72), (0.70, 0.72), tone=0.8)
    if sketch.chance(0.6):
        sketch.mirrored((0.29, hem - 0.06), (0.29, hem), tone=0.7)
    sketch.ellipse(0.50, 0.11, 0.10, 0.06, 0.7)


def _dress(sketch: Sketch) -> None:
    waist, flare, hem = sketch.between(0.37, 0.41), sketch.between(0.14, 0.26), sketch.between(0.85, 0.95)
    sketch.mirrored((0.40, 0.05), (0.34, 0.07), (0.33, 0.25), (waist, 0.40), (flare, hem))
    sketch.ellipse(0.50, 0.06, 0.08, sketch.between(0.05, 0.09), HOLE)
    if sketch.chance(0.5):
        sketch.mirrored((waist, 0.38), (waist, 0.43), tone=0.6)


def _legs(sketch: Sketch, waist: float, hem: float, flare: float) -> None:
    sketch.mirrored((0.33, waist), (0.28 - flare, hem), (0.45, hem), (0.495, waist + 0.20))
    sketch.mirrored((0.33, waist), (0.33, waist + 0.04), tone=0.75)
    sketch.line((0.50, waist), (0.50, waist + 0.20), width=0.01, tone=0.6)


def _trousers(sketch: Sketch) -> None:
    _legs(sketch, 0.06, sketch.between(0.88, 0.96), sketch.between(-0.03, 0.06))


def _shorts(sketch: Sketch) -> None:
    _legs(sketch, 0.22, sketch.between(0.50, 0.62), sketch.between(0.03, 0.08))


def _skirt(sketch: Sketch) -> None:
    flare, hem = sketch.between(0.14, 0.30), sketch.between(0.70, 0.90)
    sketch.mirrored((0.36, 0.20), (flare, hem))
    sketch.mirrored((0.36, 0.20), (0.355, 0.25), tone=0.7)
    if sketch.chance(0.5):
        for fold in np.linspace(-0.8, 0.8, 5):
            foot = 0.5 + float(fold) * (0.5 - flare)
            sketch.line((0.5 + float(fold) * 0.14, 0.26), (foot, hem - 0.02), width=0.006, tone=0.75)


def _casual_shoe(sketch: Sketch) -> None:
    heel = sketch.between(0.30, 0.40)
    sketch.polygon(
        (0.08, heel), (0.20, heel - 0.03), (0.30, 0.42), (0.42, 0.46), (0.60, 0.56), (0.85, 0.62),
        (0.92, 0.70), (0.90, 0.74), (0.08, 0.74),
    )  # fmt: skip
    sole = sketch.between(1.5, 2.2) if sketch.chance(0.6) else 0.5
    sketch.polygon((0.07, 0.72), (0.93, 0.71), (0.92, 0.79), (0.08, 0.79), tone=sole)
    for lace in range(4):
        x, y = 0.36 + lace * 0.06, 0.44 + lace * 0.035
        sketch.line((x, y), (x + 0.07, y + 0.07), width=0.012, tone=1.6)


def _heel(sketch: Sketch) -> None:
    toe = sketch.between(0.73, 0.77)
    sketch.polygon(
        (0.08, 0.30), (0.16, 0.27), (0.30, 0.45), (0.55, 0.66), (0.80, toe - 0.06), (0.93, toe), (0.90, 0.80),
        (0.60, 0.79), (0.35, 0.62), (0.20, 0.50), (0.16, 0.82), (0.12, 0.82),
    )  # fmt: skip


def _handbag(sketch: Sketch) -> None:
    top = sketch.between(0.40, 0.48)
    left, right = sketch.between(0.14, 0.20), sketch.between(0.80, 0.86)
    sketch.handle(0.50, top + 0.02, sketch.between(0.16, 0.24), sketch.between(0.20, 0.32), 0.03, 0.8)
    sketch.polygon((left, top), (right, top), (0.90, 0.88), (0.10, 0.88))
    sketch.line((0.15, top + 0.12), (0.86, top + 0.12), width=0.01, tone=0.6)
    sketch.ellipse(0.50, top + 0.12, 0.03, 0.03, 1.6)


def _backpack(sketch: Sketch) -> None:
    sketch.handle(0.50, 0.11, 0.07, 0.07, 0.02, 0.6)
    sketch.polygon((0.28, 0.20), (0.36, 0.10), (0.64, 0.10), (0.72, 0.20), (0.76, 0.90), (0.24, 0.90))
    pocket = sketch.between(0.48, 0.58)
    sketch.polygon((0.32, pocket), (0.68, pocket), (0.70, 0.84), (0.30, 0.84), tone=0.8)
    sketch.line((0.30, 0.30), (0.70, 0.30), width=0.01, tone=0.6)
    sketch.line((0.22, 0.30), (0.20, 0.80), width=0.03, tone=0.7)
    sketch.line((0.78, 0.30), (0.80, 0.80), width=0.03, tone=0.7)


def _cap(sketch: Sketch) -> None:
    crown = sketch.between(0.24, 0.32)
    sketch.dome(0.46, 0.57, 0.26, 0.57 - crown)
    sketch.polygon((0.60, 0.55), (0.80, 0.57), (0.94, 0.65), (0.88, 0.69), (0.55, 0.61), tone=0.85)
    sketch.ellipse(0.46, crown, 0.02, 0.02, 0.7)
    sketch.line((0.46, crown), (0.46, 0.56), width=0.006, tone=0.7)


def _watch(sketch: Sketch) -> None:
    sketch.polygon((0.40, 0.02), (0.60, 0.02), (0.62, 0.35), (0.38, 0.35))
    sketch.polygon((0.38, 0.65), (0.62, 0.65), (0.60, 0.98), (0.40, 0.98))
    radius = sketch.between(0.17, 0.22)
    dial = sketch.between(1.5, 2.5) if sketch.chance(0.5) else 0.35
    sketch.ellipse(0.50, 0.50, radius, radius * 0.75, 0.7)
    sketch.ellipse(0.50, 0.50, radius * 0.8, radius * 0.6, dial)
    sketch.line((0.50, 0.50), (0.50, 0.40), width=0.012, tone=0.2)
    sketch.line((0.50, 0.50), (0.58, 0.52), width=0.012, tone=0.2)


def _sunglasses(sketch: Sketch) -> None:
    top, round_lenses = sketch.between(0.36, 0.42), sketch.chance(0.5)
    middle, reach = (top + 0.62) / 2, (0.62 - top) / 2
    for x in (0.27, 0.73):
        if round_lenses:
            sketch.ellipse(x, middle, 0.19, reach)
        else:
            sketch.polygon((x - 0.19, top), (x + 0.19, top), (x + 0.16, 0.62), (x - 0.16, 0.62))
        sketch.ellipse(x, middle, 0.15, reach * 0.75, 0.55)
    sketch.line((0.44, top + 0.05), (0.56, top + 0.05), width=0.02, tone=1.0)
    sketch.line((0.08, top + 0.05), (0.04, top - 0.03), width=0.02, tone=1.0)
    sketch.line((0.92, top + 0.05), (0.96, top - 0.03), width=0.02, tone=1.0)


def _belt(sketch: Sketch) -> None:
    for y in (0.40, 0.47):
        sketch.polygon((0.06, y), (0.94, y), (0.94, y + 0.06), (0.06, y + 0.06))
    sketch.polygon((0.06, 0.37), (0.20, 0.37), (0.20, 0.56), (0.06, 0.56), tone=2.0)
    sketch.polygon((0.09, 0.41), (0.17, 0.41), (0.17, 0.52), (0.09, 0.52), tone=HOLE)


def _tie(sketch: Sketch) -> None:
    half = sketch.between(0.10, 0.14)
    sketch.mirrored((0.44, 0.04), (0.46, 0.14), tone=0.85)
    sketch.polygon((0.46, 0.14), (0.54, 0.14), (0.50 + half, 0.80), (0.50, 0.95), (0.50 - half, 0.80))
    if sketch.chance(0.5):
        tone = sketch.between(0.6, 1.4)
        for y in np.linspace(0.30, 0.78, 6):
            # No stripe reaches beyond the cloth, which widens downwards.
            reach = 0.04 + (half - 0.04) * (float(y) - 0.14) / 0.66 - 0.015
            sketch.line(
                (0.50 - reach, float(y) + 0.03), (0.50 + reach, float(y) - 0.03), width=0.02, tone=tone
            )


GARMENTS: dict[str, Callable[[Sketch], None]] = {
    "Tshirts": _tshirt,
    "Shirts": _shirt,
    "Jackets": _jacket,
    "Dresses": _dress,
    "Trousers": _trousers,
    "Shorts": _shorts,
    "Skirts": _skirt,
    "Casual Shoes": _casual_shoe,
    "Heels": _heel,
    "Handbags": _handbag,
    "Backpacks": _backpack,
    "Caps": _cap,
    "Watches": _watch,
    "Sunglasses": _sunglasses,
    "Belts": _belt,
    "Ties": _tie,
}


# ---- rendering -------------------------------------------------------------------------------------------


def _pose(rng: Generator, width: int, height: int) -> Callable[[Sequence[Point]], list[Point]]:
    """From the unit square to pixels: a little turned, sheared, scaled, off centre, sometimes mirrored."""
    side = min(width, height)
    scale_x = side * rng.uniform(0.78, 1.0) * rng.choice([-1, 1])
    scale_y = side * rng.uniform(0.85, 1.1) * min(max(height / width, 1.0), 1.25)
    angle, shear = math.radians(rng.uniform(-9, 9)), rng.uniform(-0.06, 0.06)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.diag([scale_x, scale_y]) @ np.array([[1, shear], [0, 1]])
    centre = np.array([width * rng.uniform(0.45, 0.55), height * rng.uniform(0.46, 0.54)])

    def to_pixels(points: Sequence[Point]) -> list[Point]:
        placed = (np.asarray(points) - 0.5) @ matrix.T + centre
        return [(float(x), float(y)) for x, y in placed]

    return to_pixels


def _rasterise(
    strokes: Sequence[Stroke], to_pixels: Callable[[Sequence[Point]], list[Point]], width: int, height: int
) -> NDArray[np.float32]:
    """The tone of each pixel [height, width]; HOLE where nothing is painted."""
    tones = Image.new("F", (width, height), HOLE)
    canvas = ImageDraw.Draw(tones)
    for stroke in strokes:
        points = to_pixels(stroke.points)
        if stroke.width is None:
            canvas.polygon(points, fill=stroke.tone)
        else:
            canvas.line(points, fill=stroke.tone, width=max(1, round(stroke.width * min(width, height))))
    return np.asarray(tones, dtype=np.float32)


def shade_of(base_colour: str, rng: Generator) -> NDArray[np.float64]:
    """A colour that still bears the same name: RGB, 0 to 1."""
    rgb = np.array(BASE_COLOURS[base_colour]) / 255
    grey = rgb.mean()
    return (grey + (rgb - grey) * rng.uniform(0.85, 1.1)) * rng.uniform(0.88, 1.08) + rng.uniform(
        -0.012, 0.012, 3
    )


def _light(tones: NDArray[np.float32], colour: ArrayLike, rng: Generator) -> NDArray[np.float64]:
    """RGB, 0 to 1: the tones in colour, under uneven light, sometimes striped, with a soft shadow."""
    height, width = tones.shape
    garment = tones >= 0
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]

    creases = Image.fromarray(rng.normal(0, 1, (7, 6)).astype(np.float32))
    light = 1 + rng.uniform(0.03, 0.1) * np.asarray(creases.resize((width, height), Image.Resampling.BICUBIC))
    light += rng.uniform(-0.12, 0.12) * (x - 0.5) + rng.uniform(-0.12, 0.12) * (y - 0.5)
    if rng.random() < 0.2:
        across = x if rng.random() < 0.5 else y
        light = np.where(
            np.sin(across * 2 * math.pi * rng.uniform(4, 12)) > 0.6, light * rng.uniform(0.6, 0.9), light
        )

    cloth = np.asarray(colour) * (light * np.minimum(tones, 1))[..., np.newaxis]
    cloth += (1 - cloth) * np.clip(tones - 1, 0, 1)[..., np.newaxis]

    shadow = Image.fromarray(garment.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(width * 0.025))
    shade = 1 - rng.uniform(0, 0.25) * np.roll(np.asarray(shadow), round(width * 0.02), axis=0) / 255
    ground = (rng.uniform(238, 252) + rng.uniform(-3, 3, 3)) / 255 * shade[..., np.newaxis]
    return np.where(garment[..., np.newaxis], cloth, ground)
