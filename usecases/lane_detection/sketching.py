"""Polygons on and above a simulated road, projected all at once."""

from __future__ import annotations

import cv2
import numpy as np

from usecases.lane_detection.camera import Camera
from usecases.lane_detection.road import AHEAD, STEP, Path


class Eye:
    """A camera on a path: from (s, u, height) to pixels, as Camera.project and Path.points would, but faster."""

    def __init__(self, camera: Camera, path: Path) -> None:
        self.camera, self.path = camera, path
        self._table = np.column_stack([path.x, path.y, np.cos(path.heading), np.sin(path.heading)])
        self._turn = camera.rotation.T
        # A lens with k1 < 0 folds what is far outside the image back into it: nothing is seen beyond this squared radius.
        corner = max(camera.centre[0], camera.width - camera.centre[0]) ** 2 / camera.focal[0] ** 2
        corner += max(camera.centre[1], camera.height - camera.centre[1]) ** 2 / camera.focal[1] ** 2
        self._least = 2.0 * corner if camera.distortion[0] else np.inf

    def pixels(self, s: np.ndarray, u: np.ndarray, z: np.ndarray | float = 0.0) -> np.ndarray:
        """[n, 2] pixels, NaN for what is not in front of the lens."""
        cell = np.clip((s / STEP).astype(np.int64), 0, AHEAD - 2)
        share = (s / STEP - cell)[:, None]
        at = self._table[cell] * (1 - share) + self._table[cell + 1] * share
        y = at[:, 1] - u * at[:, 3]
        up = np.interp(y, self.path.y, self.path.z) + z - self.camera.above
        seen = np.column_stack([at[:, 0] + u * at[:, 2], y, up]) @ self._turn
        depth = seen[:, 2:]
        with np.errstate(divide="ignore", invalid="ignore"):
            ray = np.where(depth > 0.1, seen[:, :2] / depth, np.nan)
        if self.camera.distortion[0]:
            square = (ray * ray).sum(1, keepdims=True)
            ray = np.where(square < self._least, ray * (1 + self.camera.distortion[0] * square), np.nan)
        return ray * self.camera.focal + self.camera.centre


class Sketch:
    """A list of coloured polygons in the order in which they are painted, the farthest first."""

    def __init__(self, eye: Eye) -> None:
        self.eye = eye
        self._points: list[np.ndarray] = []
        self._kinds: list[tuple[int, tuple[float, ...], bool]] = []

    def add(self, points: np.ndarray | list[tuple[float, float, float]], colour: tuple[float, ...], solid: bool = False) -> None:
        """A polygon of (s, u, z) in metres from the camera, u to its right; a solid one is its corners' convex hull and hides."""
        self._points.append(np.asarray(points, np.float64))
        self._kinds.append((len(points), colour, solid))

    def draw(self, image: np.ndarray, light: float, hidden: np.ndarray) -> None:
        """Paint all of them in this light; `hidden` [height, width] becomes 255 where a solid one is."""
        if not self._points:
            return
        flat = np.concatenate(self._points)
        pixels = self.eye.pixels(flat[:, 0], flat[:, 1], flat[:, 2])
        sizes = np.array([one[0] for one in self._kinds])
        fits = np.logical_and.reduceat(np.isfinite(pixels).all(1) & (np.abs(pixels) < 30_000).all(1), np.cumsum(sizes) - sizes)
        fixed = np.where(np.isfinite(pixels), np.clip(pixels, -30_000, 30_000) * 16, 0).round().astype(np.int32)
        start = 0
        for (size, colour, solid), fit in zip(self._kinds, fits, strict=True):
            shape = fixed[start : start + size]
            start += size
            if not fit:
                continue
            if solid:
                shape = np.asarray(cv2.convexHull(shape), np.int32)
                cv2.fillConvexPoly(hidden, shape, 255, shift=4)
            cv2.fillPoly(image, [shape], (colour[0] * light, colour[1] * light, colour[2] * light), cv2.LINE_AA, 4)
