"""Pictures with something on them, and the ways in which copies of pictures come about."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance


def drawing(seed: int, size=(160, 160)) -> Image.Image:
    """Twelve coloured shapes at random places, smooth like a photograph scaled down."""
    random = np.random.default_rng(seed)
    scale = 3
    width, height = size[0] * scale, size[1] * scale
    image = Image.new("RGB", (width, height), tuple(random.integers(150, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.uniform(0, width), random.uniform(0, height)
        across, down = random.uniform(0.05, 0.25, 2) * (width, height)
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((x - across, y - down, x + across, y + down), fill=tuple(random.integers(0, 256, 3).tolist()))
    return image.resize(size, Image.Resampling.BOX)


def compressed(image, quality=30):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cropped(image, left=0.0, top=0.0, right=1.0, bottom=1.0):
    width, height = image.size
    return image.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))


VARIANTS = {
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "half as large again": lambda image: image.resize((image.width * 3 // 2, image.height * 3 // 2)),
    "JPEG at quality 30": compressed,
    "10 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "10 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "4 % off the middle": lambda image: cropped(image, 0.02, 0.02, 0.98, 0.98),
    "4 % off a corner": lambda image: cropped(image, 0.04, 0, 1, 0.96),
    "4 % off every edge": lambda image: cropped(image, 0.04, 0.04, 0.96, 0.96),
    "grey": lambda image: image.convert("L").convert("RGB"),
}
