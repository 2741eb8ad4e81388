"""Light, weather, and what the lens, the windscreen and the file format do to a simulated frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from usecases.lane_detection import textures
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.painting import Ground, texture
from usecases.lane_detection.vehicles import add_glow


@dataclass(frozen=True)
class Weather:
    """One drive's conditions.

    Attributes:
        kind: sun, cloud, dusk or night.
        light: of the surroundings, 1 is day; lamps: gain of the headlamps.
        sun: metres that a shadow falls to the right per metre of height, 0 for none; dark: what is left in a shadow.
        crowns: 0..1, how much of the road lies in the shadow of trees; bridges: s of the shadows of bridges, within 384 m.
        rain: 0..1; fog: 1/metres; glare: 0..1.
        tint, gamma: of the camera; exposure: the grey it aims at, 0..255; vignette: loss in the corners.
        noise: standard deviation; blur: standard deviation in pixels at 640 columns.
        jpeg: quality, 0 for none; mirror: 0..1, the dashboard's reflection; bonnet: rows of the image, as a share.
    """

    kind: str
    light: float
    lamps: float
    sun: float
    dark: float
    crowns: float
    bridges: tuple[float, ...]
    rain: float
    fog: float
    glare: float
    tint: tuple[float, float, float]
    exposure: float
    gamma: float
    vignette: float
    noise: float
    blur: float
    jpeg: int
    mirror: float
    bonnet: float


def weather(rng: np.random.Generator) -> Weather:
    """Mostly dry days; nights, dusks, rain and fog in fair shares."""
    kind = str(rng.choice(["sun", "cloud", "dusk", "night"], p=[0.5, 0.31, 0.08, 0.11]))
    sunny, night = kind == "sun", kind == "night"
    rain = float(rng.uniform(0.2, 1)) if rng.random() < 0.11 and not sunny else 0.0
    light = {"sun": 1.0, "cloud": 1.0, "dusk": rng.uniform(0.3, 0.7), "night": rng.uniform(0.08, 0.3)}[kind]
    warmth = rng.normal(0, 0.05) + (0.06 if kind == "dusk" else 0)
    return Weather(
        kind=kind,
        light=float(light),
        lamps=float(rng.uniform(0.6, 1.3)) if night else float(rng.uniform(0, 0.35)) if kind == "dusk" else 0.0,
        sun=float(rng.uniform(-1.6, 1.6)) if sunny else 0.0,
        dark=float(rng.uniform(0.36, 0.7)),
        crowns=float(rng.uniform(0.1, 0.7)) if sunny and rng.random() < 0.22 else 0.0,
        bridges=tuple(rng.uniform(0, 384, 8)[: rng.integers(1, 8)]) if sunny and rng.random() < 0.2 else (),
        rain=rain,
        fog=float(rng.uniform(0.002, 0.012)) if rain or rng.random() < 0.06 else float(rng.uniform(0, 0.0008)),
        glare=float(rng.uniform(0.2, 1)) if (sunny or kind == "dusk") and rng.random() < 0.15 else 0.0,
        tint=(float(1 - warmth), float(1 + rng.normal(0, 0.015)), float(1 + warmth)),
        exposure=float(np.exp(rng.normal(np.log(124), 0.25))),
        gamma=float(np.exp(rng.normal(0.0, 0.17))),
        vignette=float(rng.uniform(0, 0.35)),
        noise=float(rng.exponential(1.4) + (rng.uniform(0.5, 3) if night else 0.3)),
        blur=float(rng.choice([0.0, rng.uniform(0.3, 0.7), rng.uniform(0.7, 1.3)], p=[0.55, 0.35, 0.1])),
        jpeg=int(rng.integers(45, 96)) if rng.random() < 0.6 else 0,
        mirror=float(rng.uniform(0.1, 1)) if rng.random() < 0.25 else 0.0,
        bonnet=float(rng.uniform(0.02, 0.14)) if rng.random() < 0.15 else 0.0,
    )


def shades(ground: Ground, now: Weather, offset: float, s0: float) -> np.ndarray:
    """[rows, width] uint8, 255 where the ground is lit: the shadows of trees and bridges, and the headlamps' cone."""
    lit = np.full(ground.u.shape, 255, np.uint8)
    if now.crowns:
        pattern = texture(textures.laid("leaves"), ground.u + np.float32(offset), ground.s + np.float32(s0 % 384), 16, 4 * 4 / 3)
        edge = (now.crowns * 60 - 20) * np.sign(now.sun)
        side = (ground.u + np.float32(offset)) * np.float32(np.sign(now.sun)) < abs(edge)
        lit = np.where(side, pattern, lit) if now.crowns < 0.5 else pattern
    for place in now.bridges:
        along = (ground.s - np.float32((place - s0) % 384)) + ground.u * np.float32(now.sun * 0.5)
        lit[(along > 0) & (along < 3 + 10 * (place % 1))] = 0
    floor = now.dark
    return cv2.LUT(lit, (255 * (floor + (1 - floor) * np.arange(256) / 255)).astype(np.uint8)) if lit.min() < 255 else lit


def headlamps(part: np.ndarray, ground: Ground, now: Weather) -> np.ndarray:
    """The ground [rows, width, 3] in the light of the surroundings and of the own headlamps."""
    u, y = (cv2.resize(one, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_NEAREST) for one in (ground.u, ground.y))
    spread = np.exp(-((u / (1.5 + 0.16 * y)) ** 2)) * np.exp(-y / 32) * np.clip(y / 9, 0.35, 1)
    gain = np.clip((now.light + now.lamps * spread) * 160, 0, 255).astype(np.uint8)
    gain = cv2.resize(gain, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(part, cv2.merge([gain] * 3), scale=1 / 160)


def air(image: np.ndarray, camera: Camera, now: Weather, haze: tuple[float, ...]) -> None:
    """Fog by distance, as if everything stood on the ground, in place."""
    below = np.maximum(np.arange(camera.height) - camera.horizon(), 0.5)
    distance = np.minimum(camera.focal[1] * camera.above / below, 400)
    clear = np.clip(np.exp(-now.fog * distance), 0.08, 1)
    clear[: int(max(camera.horizon(), 0))] = np.clip(np.exp(-now.fog * 300), 0.08, 1)
    first = (clear[:, None] * 255).astype(np.uint8)
    kept = cv2.multiply(image, cv2.merge([np.repeat(first, camera.width, 1)] * 3), scale=1 / 255)
    veil = ((1 - clear)[:, None, None] * np.asarray(haze)).astype(np.uint8)
    cv2.add(kept, np.repeat(veil, camera.width, 1), dst=image)


def windscreen(rng: np.random.Generator, image: np.ndarray, now: Weather) -> None:
    """Glare, the dashboard's reflection, and rain, in place."""
    height, width = image.shape[:2]
    if now.glare:
        add_glow(image, rng.uniform(0, width), rng.uniform(-0.2, 0.35) * height, now.glare * width * 0.7, (190, 215, 235))
    if now.mirror:
        part = textures.noise(1.7, 20)[: height // 3, : width // 3]
        film = cv2.convertScaleAbs(cv2.resize(part, (width, height)), alpha=now.mirror * 0.35, beta=-now.mirror * 36)
        cv2.add(image, cv2.merge([film] * 3), dst=image)
    if now.rain:
        drops = np.zeros((height, width), np.uint8)
        places = rng.uniform((0, 0, 1), (width, height, 2 + 5 * now.rain), (int(90 * now.rain), 3)) * (1, 1, width / 640)
        for x, y, size in places:
            cv2.ellipse(drops, (int(x), int(y)), (int(size) + 1, int(size * 1.2) + 1), 0, 0, 360, 255, -1)
        soft = cv2.blur(cv2.flip(image, 0), (9, 9))
        cv2.copyTo(cv2.addWeighted(image, 0.55, soft, 0.5, 6), drops, image)
        streaks = cv2.blur(cv2.threshold(textures.noise(0.0, 21), 228, 255, cv2.THRESH_BINARY)[1], (1, 15))
        film = cv2.resize(np.roll(streaks, int(rng.integers(512)), 1), (width, height))
        cv2.add(image, cv2.merge([cv2.convertScaleAbs(film, alpha=now.rain)] * 3), dst=image)


def lens(rng: np.random.Generator, image: np.ndarray, now: Weather) -> np.ndarray:
    """What the camera makes of the light: blur, vignette, exposure, noise, and JPEG. The image given is used up."""
    height, width = image.shape[:2]
    sigma = now.blur * width / 640
    if sigma:
        cv2.GaussianBlur(image, (0, 0), sigma, dst=image)
    gain = float(np.clip((now.exposure / max(np.mean(image[::8, ::8]), 1)) ** 0.75, 0.6, 2.5))
    tone = np.minimum(np.arange(256) / 255 * gain, 1.0) ** now.gamma * 255
    cv2.LUT(image, np.clip(np.stack([tone * one for one in now.tint], -1), 0, 255).astype(np.uint8)[None], dst=image)
    if now.vignette > 0.05:
        cv2.multiply(image, _vignette(width, height, round(now.vignette, 1)), dst=image, scale=1 / 255)
    if now.noise > 0.4:
        _add_noise(rng, image, now.noise)
    if now.jpeg:
        decoded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, now.jpeg])[1], cv2.IMREAD_COLOR)
        assert decoded is not None  # it has just been encoded
        return np.asarray(decoded, np.uint8)
    return image


@cache
def _vignette(width: int, height: int, loss: float) -> np.ndarray:
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    gain = (255 * (1 - loss * (x * x + y * y) / 2)).astype(np.uint8)
    return cv2.merge([gain] * 3)


def _add_noise(rng: np.random.Generator, image: np.ndarray, deviation: float) -> None:
    """Sensor noise, the same in all colours, in place."""
    height, width = image.shape[:2]
    y, x = rng.integers(textures.SIZE, size=2)
    part = textures.wide_noise(height // textures.SIZE + 2, width // textures.SIZE + 2)[y : y + height, x : x + width]
    swing = (np.arange(256) - 128) * (deviation / 40)
    brighter, darker = (cv2.LUT(part, np.clip(one, 0, 255).astype(np.uint8)) for one in (swing, -swing))
    cv2.add(image, cv2.merge([brighter] * 3), dst=image)
    cv2.subtract(image, cv2.merge([darker] * 3), dst=image)
