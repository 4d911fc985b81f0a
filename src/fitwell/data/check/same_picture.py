"""Whether two pictures are one picture: resized, compressed, brightened, cropped a little, or turned grey.

Hashes only propose; here the pictures are laid over each other and the largest local difference decides: two clock
faces differ in one hand, two hearts in their colour only. Never reaches torch.

Shapes: P pairs, C channels (3, or 1 for grey), S pixels a side. Values are in [0, 1]. A place (P, 4) says where the
second picture lies in the first: stretch and shift across, stretch and shift down, in half sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]  # float32 throughout

SIDE = 64  # pixels of a thumbnail
BLUR = 1 / 45  # of the side, while pictures are laid over each other; more would mix cut edges in
ROUGH_STEPS, STEPS = (4, 2), 2  # of least squares: from a far place, from a near one, at full size
MOST_MOVED = 0.12  # half sides: a crop of 4 % at each edge, and half as much again
GAINS: Floats = np.exp(np.arange(-16, 17, dtype=np.float32) / 100)  # brightness 0.85 to 1.17
WORTH = 0.7  # share of the error that must go with another brightness; at 0.9 a cut edge is taken for light
LUMA = (0.299, 0.587, 0.114)

# Limits: what 97 % of 500 variants of each kind of the 4,919 emoji stay within, and what tells apart the 5,470 pairs
# of emoji whose codes are close, and the solar cells (benchmarks/near_duplicates.py).
FLAT = 0.02  # difference of brightness where a picture is flat; JPEG at quality 30 leaves 0.025 at most, near edges
FULL_CONTRAST = 0.3  # deviation from which FLAT counts in full; solar cells have 0.1, and JPEG leaves 0.005 there
EDGE = 0.25  # pixels by which edges may stay apart; half of all crops stay 0.1 apart
TINT = 0.08  # difference of colour; JPEG at quality 30 leaves 0.064 at most, black and brown squares differ by 0.12
COLOURLESS = 0.04  # tint up to which a picture counts as grey
GREYED = 0.009  # difference of brightness where one is grey: copies reach 0.0033, black and blue hearts 0.010
GLANCE_LIMIT = 4.5  # of the other limits, in looks of 16 x 16: 99.5 % of crops stay within, 45 % of solar cells do
ROUGH_LIMITS = (4.5, 3.6)  # of the other limits, in grey at half the resolution, where white clips otherwise, after
# each of two fits: brightness and place depend on each other; 4.2 and 3.5 were seen among 2,971 copies


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """Return the whole picture squashed to (SIDE, SIDE, 3), smoothed and not sampled."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def glance(whole: NDArray[np.uint8], part: NDArray[np.uint8], views: Floats) -> NDArray[np.bool_]:
    """Say of which pictures a closer look is worth its time.

    Args:
        whole, part: (P, S, S) small grey looks. views: as for `differences`.
    """
    first, second = (looks[:, None].astype(np.float32) / 255 for looks in (whole, part))
    place, gain = _place_of(views), np.ones(len(views), dtype=np.float32)
    gain = _better_gain(first, second, place, gain, worth=1.0)
    likely: NDArray[np.bool_] = _brightness_difference(*_overlay(first, second, place, gain)) <= GLANCE_LIMIT
    return likely


def differences(whole: NDArray[np.uint8], part: NDArray[np.uint8], views: Floats) -> Floats:
    """Return how much pictures differ where they differ most (P,): up to 1 they are one picture; inf is far from it.

    Args:
        whole: (P, SIDE, SIDE, 3) thumbnails of the pictures that may show more.
        part: (P, SIDE, SIDE, 3) thumbnails of those that may be cropped from them.
        views: (P, 4) left, top, right and bottom of the likely crop, as shares of the whole.
    """
    result = np.full(len(views), np.inf, dtype=np.float32)
    first, second = _channels_first(whole, part)
    near, place, gain = _roughly_alike(_halved(_grey(first)), _halved(_grey(second)), _place_of(views))
    first, second = first[near], second[near]
    place, gain = _fit(first, second, place, gain, STEPS)
    result[near] = _difference(*_overlay(first, second, place, gain))
    other_gain = _better_gain(first, second, place, gain, worth=1.0)  # whatever explains more
    differs = other_gain != gain
    other = _difference(*_overlay(first[differs], second[differs], place[differs], other_gain[differs]))
    result[near[differs]] = np.minimum(result[near[differs]], other)
    return result


def _roughly_alike(first: Floats, second: Floats, place: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Return which pairs of grey pictures (P, 1, S, S) may be one, with their place and gain after rough fits."""
    near: NDArray[np.intp] = np.arange(len(place))
    gain: Floats = np.ones(len(place), dtype=np.float32)
    for limit, steps in zip(ROUGH_LIMITS, ROUGH_STEPS, strict=True):
        place, gain = _fit(first, second, place, gain, steps)
        alike = _brightness_difference(*_overlay(first, second, place, gain)) <= limit
        near = near[alike]
        first, second, place, gain = (each[alike] for each in (first, second, place, gain))
    return near, place, gain


def _difference(first: Floats, second: Floats) -> Floats:
    """Return the largest local difference (P,) of pictures (P, C, S, S) that lie over each other."""
    grey, other_grey = _grey(first), _grey(second)
    tint, other_tint = (_window_means(each, 7) for each in (first - grey, second - other_grey))
    one_is_grey = np.minimum(_largest(tint), _largest(other_tint)) < COLOURLESS
    brightness = _brightness_difference(grey, other_grey)
    in_colour = np.maximum(brightness, _largest(tint - other_tint) / TINT)
    in_grey = np.where(one_is_grey, _largest(_window_means(grey - other_grey, 5)) / GREYED, np.inf)
    result: Floats = np.minimum(in_colour, in_grey)
    return result


def _brightness_difference(first: Floats, second: Floats) -> Floats:
    """Return by how many times the tolerance two grey pictures (P, 1, S, S) differ where they differ most.

    Differences are averaged over small windows with their signs, so that edges a fraction of a pixel apart cancel.
    """
    window = first.shape[-1] // 16 + 1
    slope = _window_means(np.maximum(_slope(first), _slope(second)), window)
    contrast = np.minimum(first.std(axis=(1, 2, 3)), second.std(axis=(1, 2, 3)))
    flat = FLAT * (contrast / FULL_CONTRAST).clip(max=1) + 1e-6
    return _largest(_window_means(first - second, window) / (flat[:, None, None, None] + EDGE * slope))


def _fit(first: Floats, second: Floats, place: Floats, gain: Floats, steps: int) -> tuple[Floats, Floats]:
    """Return a better place and gain."""
    gain = _better_gain(first, second, place, gain)
    first, second = _equally_bright(first, second, gain)
    return _better_place(_grey(first), _grey(second), place, steps), gain


def _better_place(first: Floats, second: Floats, place: Floats, steps: int) -> Floats:
    """Return the place that least squares find from `place` on, for grey pictures (P, 1, S, S).

    Source: Lucas and Kanade 1981, "An Iterative Image Registration Technique".
    """
    size = first.shape[-1]
    blur = _blur(size)
    first, second = blur @ first @ blur.T, (blur @ second @ blur.T)[:, 0]
    at = _positions(size)
    for _ in range(steps):
        seen, inside = _resample(first, place)
        seen, inside = seen[:, 0], inside[:, 0] * _frame(size)
        down, across = np.gradient(seen, 2 / size, axis=(1, 2))
        slopes = np.stack([across * at, across, down * at[:, None], down, seen], axis=1) * inside[:, None]
        slopes = slopes.reshape(len(seen), 5, size * size)
        rest = ((second - seen) * inside).reshape(len(seen), size * size, 1)
        normal = slopes @ slopes.swapaxes(1, 2)
        ridge = 2e-5 * np.trace(normal, axis1=1, axis2=2) + 1e-6  # blank pictures determine nothing
        normal += ridge[:, None, None] * np.eye(5, dtype=np.float32)
        move = np.linalg.solve(normal, slopes @ rest)[:, :4, 0]  # the fifth is brightness, fitted and forgotten
        place = np.clip(place + move, -MOST_MOVED, MOST_MOVED)
    return place


def _better_gain(first: Floats, second: Floats, place: Floats, gain: Floats, worth: float = WORTH) -> Floats:
    """Return the factor (P,) that makes the first picture as bright as the second, or `gain` if none is worth it."""
    first, second = (_grey(each) for each in _overlay(first, second, place, gain))
    errors = np.stack([_squared_error(first, second, float(more)) for more in GAINS])
    better = errors.min(axis=0) < worth * errors[len(GAINS) // 2]
    return np.clip(gain * np.where(better, GAINS[errors.argmin(axis=0)], 1), GAINS[0], GAINS[-1])


def _squared_error(first: Floats, second: Floats, gain: float) -> Floats:
    """Return the squared differences (P,), summed over each picture, after the darker one is brightened."""
    darker, other = (first, second) if gain > 1 else (second, first)
    rest = np.multiply(darker, max(gain, 1 / gain))
    np.minimum(rest, 1, out=rest)
    rest -= other
    errors: Floats = np.einsum("pchw,pchw->p", rest, rest)
    return errors


def _overlay(first: Floats, second: Floats, place: Floats, gain: Floats) -> tuple[Floats, Floats]:
    """Return both pictures (P, C, S, S) over each other, equally bright, and 0 where they do not overlap."""
    first, second = _equally_bright(first, second, gain)
    seen, inside = _resample(first, place)
    return seen * inside, second * inside


def _equally_bright(first: Floats, second: Floats, gain: Floats) -> tuple[Floats, Floats]:
    """Brighten the darker of both, clipped at white as whoever brightened the other one had to."""
    return _lift(first, gain[:, None, None, None]), _lift(second, 1 / gain[:, None, None, None])


def _lift(picture: Floats, gain: Floats | np.floating[Any]) -> Floats:
    return (picture * np.maximum(gain, 1)).clip(max=1)


def _resample(picture: Floats, place: Floats) -> tuple[Floats, Floats]:
    """Return what of pictures (P, C, S, S) is seen at `place`, and where (P, 1, S, S) that is within them."""
    size = picture.shape[-1]
    across, down = _sampling(place[:, :2], size), _sampling(place[:, 2:], size)
    inside = (down.sum(axis=2) > 0.99)[:, :, None] & (across.sum(axis=2) > 0.99)[:, None, :]
    return down[:, None] @ picture @ across[:, None].swapaxes(2, 3), inside[:, None].astype(np.float32)


def _sampling(place: Floats, size: int) -> Floats:
    """Return weights (P, S, S) of the pixels at each place sampled; their sum is less than 1 beyond the edge."""
    seen = _positions(size) * (1 + place[:, :1]) + place[:, 1:]
    pixels = ((seen + 1) * size - 1) / 2
    return (1 - abs(pixels[:, :, None] - np.arange(size, dtype=np.float32))).clip(min=0)


def _place_of(views: Floats) -> Floats:
    left, top, right, bottom = views.T
    return np.stack([right - left - 1, right + left - 1, bottom - top - 1, bottom + top - 1], axis=1)


def _positions(size: int) -> Floats:
    """Return the middles of `size` pixels, in (-1, 1)."""
    return (2 * np.arange(size, dtype=np.float32) + 1) / size - 1


def _frame(size: int) -> Floats:
    """Return 1 for the pixels (S, S) that have neighbours on all sides."""
    frame = np.zeros((size, size), dtype=np.float32)
    frame[1:-1, 1:-1] = 1
    return frame


def _blur(size: int) -> Floats:
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    weights = np.exp(-(distance**2) / (2 * (BLUR * size) ** 2))
    blur: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return blur


def _window_means(pictures: Floats, window: int) -> Floats:
    """Return means over windows that lie wholly within pictures (P, C, S, S)."""
    first = np.arange(pictures.shape[-1] - window + 1)[:, None]
    pixel = np.arange(pictures.shape[-1])
    mean = ((first <= pixel) & (pixel < first + window)).astype(np.float32) / window
    means: Floats = mean @ pictures @ mean.T
    return means


def _slope(pictures: Floats) -> Floats:
    down, across = np.gradient(pictures, axis=(2, 3))
    steeper: Floats = np.maximum(abs(down), abs(across))
    return steeper


def _largest(pictures: Floats) -> Floats:
    largest: Floats = abs(pictures).max(axis=(1, 2, 3))
    return largest


def _grey(pictures: Floats) -> Floats:
    """Return the luma (P, 1, S, S) of colour pictures (P, 3, S, S); grey ones stay as they are."""
    if pictures.shape[1] == 1:
        return pictures
    red, green, blue = (weight * pictures[:, channel] for channel, weight in enumerate(LUMA))
    grey: Floats = (red + green + blue)[:, None]
    return grey


def _channels_first(whole: NDArray[np.uint8], part: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return thumbnails (P, S, S, 3) as pictures (P, C, S, S); one channel does where none has a colour."""
    if all((each == each[..., :1]).all() for each in (whole, part)):
        whole, part = whole[..., :1], part[..., :1]
    first, second = (np.moveaxis(each, -1, 1).astype(np.float32) / 255 for each in (whole, part))
    return first, second


def _halved(pictures: Floats) -> Floats:
    half = pictures.shape[-1] // 2
    means: Floats = pictures.reshape(*pictures.shape[:2], half, 2, half, 2).mean(axis=(3, 5))
    return means
