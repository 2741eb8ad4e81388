"""Textures that repeat without a seam, made once, the same in every process."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

SIZE = 512  # pixels


@cache
def noise(power: float, seed: int = 0) -> np.ndarray:
    """[SIZE, SIZE] uint8 around 128, standard deviation 40; amplitude falls with frequency to this power (0 is white noise)."""
    rng = np.random.default_rng([77, seed, round(power * 100)])
    across, along = np.meshgrid(np.fft.rfftfreq(SIZE), np.fft.fftfreq(SIZE))
    frequency = np.hypot(across, along)
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(SIZE, SIZE))) * frequency**-power)
    return np.clip(field / field.std() * 40 + 128, 0, 255).astype(np.uint8)


@cache
def wide_noise(rows: int, columns: int) -> np.ndarray:
    """Nearly white noise, repeated so many times down and across."""
    return np.tile(noise(0.1, 22), (rows, columns))


@cache
def grain() -> np.ndarray:
    """[SIZE, SIZE] uint8: the stones of a road's surface and the stains on it."""
    mixed = 0.6 * noise(0.1).astype(np.float32) + 0.4 * noise(0.6, 1) + 0.3 * noise(1.4, 2)
    return np.clip(128 + (mixed - mixed.mean()) / mixed.std() * 40, 0, 255).astype(np.uint8)


@cache
def streaks() -> np.ndarray:
    """[SIZE, SIZE] uint8: smears along the road, which runs down the texture."""
    long = cv2.blur(np.tile(noise(0.6, 3), (3, 1)), (1, 61))[SIZE : 2 * SIZE].astype(np.float32)
    mixed = (long - long.mean()) / long.std() + 0.7 * (noise(1.5, 4).astype(np.float32) - 128) / 40
    return np.clip(128 + mixed / mixed.std() * 40, 0, 255).astype(np.uint8)


@cache
def leaves() -> np.ndarray:
    """[SIZE, SIZE] uint8, 255 is lit: light that falls through a tree's crown."""
    mixed = noise(1.5, 5).astype(np.float32) + 0.35 * noise(0.7, 6)
    return np.clip((mixed - np.percentile(mixed, 42)) * 9 + 128, 0, 255).astype(np.uint8)


@cache
def laid(name: str) -> np.ndarray:
    """[SIZE + 1, SIZE + 1] uint8: grain, streaks or leaves, with its first row and column again at the end."""
    made = {"grain": grain, "streaks": streaks, "leaves": leaves}[name]()
    return np.pad(made, ((0, 1), (0, 1)), mode="wrap")


@cache
def tree(kind: int) -> np.ndarray:
    """[128, 96, 4] uint8: a tree or bush as BGR around 128 and its opacity; its foot is at the bottom."""
    rng = np.random.default_rng([78, kind])
    mask, tone = np.zeros((128, 96), np.uint8), np.full((128, 96), 90, np.uint8)
    tall = kind % 3  # round crown, slender, bush
    if tall < 2:
        cv2.rectangle(mask, (46, 60), (50 + kind % 2, 127), 255, -1)
    for _ in range(60):
        y = rng.uniform(0.08, (0.72, 0.9, 1.0)[tall])
        spread = (38 * np.sin(np.pi * min(y / 0.8, 1)) ** 0.5, 34 * y, 44)[tall]
        x = 48 + rng.uniform(-1, 1) * spread
        size = int(rng.uniform(4, 11))
        middle = (int(x), int(y * 122 if tall < 2 else 70 + y * 52))
        cv2.circle(mask, middle, size, 255, -1)
        cv2.circle(tone, middle, size, float(np.clip(165 - 0.7 * middle[1] + 0.5 * (48 - x) + rng.normal(0, 22), 25, 230)), -1)
    rough = noise(0.5, 8)[:128, :96].astype(np.float32) - 128
    mask[(rough > 30) & (cv2.erode(mask, np.ones((7, 7), np.uint8)) == 0)] = 0
    tone = np.clip(cv2.blur(tone, (3, 3)) + 0.5 * rough, 0, 255).astype(np.uint8)
    return cv2.merge([tone, tone, tone, cv2.blur(mask, (2, 2))])


@cache
def glow() -> np.ndarray:
    """[65, 65] uint8: a light and its halo."""
    y, x = np.mgrid[-32:33, -32:33] / 32.0
    radius = np.hypot(x, y)
    halo = np.clip(1 - radius, 0, 1) ** 2 * 0.35 + np.exp(-((radius / 0.16) ** 2))
    return np.clip(halo * 255, 0, 255).astype(np.uint8)
