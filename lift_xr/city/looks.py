"""Pixels floor: surfaces - their tone, their brightness, and how they face the sun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lift_xr.city.canvas import Brush
from lift_xr.city.forms import box


@dataclass(frozen=True)
class Look:
    """How a surface varies: ``tone`` 0-1, ``gain`` and ``sun`` about 1, all (y, x)."""

    tone: np.ndarray
    gain: np.ndarray
    sun: np.ndarray | float = 1.0


@dataclass(frozen=True)
class Texture:
    """Relative deviations: brightness pixel by pixel and over a metre, tone over a few metres."""

    grain: float = 0.03
    mottle: float = 0.03
    drift: float = 0.08


TEXTURES = {
    "asphalt": Texture(0.09, 0.05, 0.10),
    "shingle": Texture(0.09, 0.04, 0.10),
    "gravel": Texture(0.11, 0.04, 0.12),
    "grass": Texture(0.13, 0.10, 0.16),
    "soil": Texture(0.08, 0.08, 0.20),
    "sand": Texture(0.05, 0.05, 0.20),
    "clay tile": Texture(0.06, 0.05, 0.16),
    "concrete": Texture(0.04, 0.05, 0.12),
    "pond": Texture(0.02, 0.02, 0.12),
    "pool": Texture(0.03, 0.05, 0.12),
    "membrane": Texture(0.015, 0.03, 0.10),
    "marking": Texture(0.12, 0.08, 0.20),
    "yellow marking": Texture(0.10, 0.08, 0.20),
    "broadleaf": Texture(0.14, 0.04, 0.20),
    "evergreen": Texture(0.14, 0.04, 0.20),
    "artificial turf": Texture(0.05, 0.02, 0.04),
    "green acrylic": Texture(0.02, 0.02, 0.06),
    "running track": Texture(0.03, 0.02, 0.06),
}
SMOOTH = Texture(0.015, 0.015, 0.04)


def plain(b: Brush) -> Look:
    """The material's own grain and stains."""
    texture = TEXTURES.get(b.shape.material, SMOOTH)
    tone = b.shape.tone + texture.drift * (b.field("drift", 4.3) + 0.6 * b.field("stains", 0.9))
    rough = texture.grain * b.field("grain", 0.06) + texture.mottle * b.field("mottle", 1.3)
    gain = np.float32(b.shape.gain) * (1 + rough)
    return Look(np.clip(tone, 0, 1), np.clip(gain, 0.3, 1.35))


def lawn(b: Brush) -> Look:
    """Grass: lush here, thin there, mown in stripes nowhere."""
    base = plain(b)
    tone = base.tone + 0.10 * b.field("blades", 0.11) + 0.13 * b.field("meadow", 11.0)
    tufts = 1 + 0.07 * b.relief(0.3)
    return Look(np.clip(tone, 0, 1), base.gain * tufts)


def road(b: Brush) -> Look:
    """Wheels polish two tracks in each lane and leave oil between them."""
    base = plain(b)
    _, q = b.axes
    return Look(np.clip(base.tone + 0.07 * ripple(q, 1.75), 0, 1), base.gain)


def slabs(b: Brush) -> Look:
    """Concrete cast in slabs with dark joints."""
    base = plain(b)
    joints = sum(groove(c, 1.5, 0.04, b) for c in b.axes)
    return Look(base.tone, base.gain * (1 - 0.28 * np.minimum(joints, 1)))


def turf(b: Brush) -> Look:
    """Artificial turf laid in rolls, each with its own nap."""
    base = plain(b)
    p, _ = b.axes
    return Look(base.tone, base.gain * (1 + 0.05 * np.sign(ripple(p, 7.6))))


def water(b: Brush) -> Look:
    """Water, with a few wavelets."""
    base = plain(b)
    return Look(base.tone, base.gain * (1 + 0.05 * b.relief(0.3)))


def panes(b: Brush) -> Look:
    """Panels or sheets in a frame."""
    base = plain(b)
    frame = groove(b.axes[0], 1.0, 0.05, b)
    return Look(base.tone, base.gain * (1 - 0.2 * frame))


def body(b: Brush) -> Look:
    """Sheet metal that bends away from the sun at its sides."""
    base = plain(b)
    p, q = b.axes
    facing = (b.sun[0] * p / b.shape.a + b.sun[1] * q / b.shape.b) * 0.22
    return Look(base.tone, base.gain, np.clip(1 + facing, 0.5, 1.3))


def flat(b: Brush) -> Look:
    """A flat roof: seams every few metres, puddle marks, a bright parapet."""
    base = plain(b)
    edge = -box(b)
    parapet = np.clip((0.35 - edge) / np.float32(0.08), 0, 1)
    inner = np.clip((0.75 - edge) / np.float32(0.15), 0, 1) * (1 - parapet)
    seams = groove(b.axes[0], 3.1, 0.05, b)
    gain = base.gain * (1 - 0.10 * seams + 0.12 * parapet - 0.18 * inner)
    tone = base.tone + 0.10 * b.field("puddles", 2.6) + 0.15 * parapet
    return Look(np.clip(tone, 0, 1), gain)


def hip(b: Brush) -> Look:
    """A roof with four slopes."""
    return pitched(b, ends=True)


def gable(b: Brush) -> Look:
    """A roof with two slopes."""
    return pitched(b, ends=False)


def pitched(b: Brush, *, ends: bool) -> Look:
    """Slopes that face the sun or turn from it, in courses of tiles."""
    base = plain(b)
    p, q = b.axes
    side, end = b.shape.b - np.abs(q), b.shape.a - np.abs(p)
    on_side = np.clip(0.5 + (end - side) / b.pixel, 0, 1) if ends else 1.0
    facing = on_side * np.sign(q) * b.sun[1] + (1 - on_side) * np.sign(p) * b.sun[0]
    depth = np.minimum(side, end) if ends else side
    courses = groove(depth, 0.34, 0.10, b)
    ridge = on_side * np.clip(1 - np.abs(q) / np.float32(0.12), 0, 1)
    gain = base.gain * (1 - 0.09 * courses + 0.08 * ridge)
    return Look(base.tone, gain, 1 + 0.42 * facing)


def crown(b: Brush) -> Look:
    """A tree: a dome of leafy bumps, light where it faces the sun, open to the dark between."""
    base = plain(b)
    p, q = b.axes
    dome = (b.sun[0] * p + b.sun[1] * q) / np.float32(b.shape.a)
    facing = 0.86 + 0.42 * dome + 0.26 * b.relief(0.9) + 0.24 * b.relief(0.3)
    gaps = np.clip(0.55 * b.field("lobes", 1.0) + 0.7 * b.field("twigs", 0.33) - 0.75, 0, 1)
    tone = base.tone + 0.16 * b.relief(0.3) + 0.10 * b.field("twigs", 0.33)
    sun = np.clip(facing, 0.12, 1.2) * (1 - 0.75 * gaps)
    return Look(np.clip(tone, 0, 1), base.gain * (1 - 0.25 * gaps), sun)


def heap(b: Brush) -> Look:
    """A heap: a dome without leaves."""
    base = plain(b)
    p, q = b.axes
    dome = (b.sun[0] * p + b.sun[1] * q) / np.float32(b.shape.a)
    return Look(base.tone, base.gain, np.clip(0.95 + 0.4 * dome + 0.1 * b.relief(0.3), 0.2, 1.35))


LOOKS: dict[str, Callable[[Brush], Look]] = {
    "plain": plain,
    "lawn": lawn,
    "road": road,
    "slabs": slabs,
    "turf": turf,
    "water": water,
    "panes": panes,
    "body": body,
    "flat": flat,
    "hip": hip,
    "gable": gable,
    "crown": crown,
    "heap": heap,
}


def ripple(across: np.ndarray, period: float) -> np.ndarray:
    """A wave of that period between -1 and 1, made of parabolas."""
    phase = across / np.float32(period)
    phase = phase - np.floor(phase)
    side = np.where(phase < 0.5, 1, -1).astype("float32")
    half = (phase * 2) % 1
    return side * 4 * half * (1 - half)


def groove(across: np.ndarray, period: float, width: float, b: Brush) -> np.ndarray:
    """Lines of that width, a period apart: 1 in a line, less where a pixel is wider than it."""
    pixel = np.float32(max(width, b.canvas.spacing))
    phase = across / np.float32(period)
    distance = np.abs(phase - np.rint(phase)) * np.float32(period)
    share: np.ndarray = np.clip(1 - distance / pixel, 0, 1) * np.float32(width / pixel)
    return share
