"""A camera above a flat road: from metres on the road to pixels, and back.

Road coordinates are metres: x to the right, y forward, z up, from the point on the road below the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with OpenCV's lens distortion.

    Args:
        width, height: of the image, pixels.
        focal: focal length, pixels (fx, fy).
        centre: principal point, pixels (cx, cy).
        above: height above the road, metres; not given: what is measured on the road is in camera heights.
        pitch: downwards, radians.
        roll: clockwise as seen by the driver, radians.
        yaw: to the right of the road's direction, radians.
        distortion: k1, k2, p1, p2, k3 as in OpenCV.
    """

    width: int
    height: int
    focal: tuple[float, float]
    centre: tuple[float, float]
    above: float = 1.0
    pitch: float = 0.0
    roll: float = 0.0
    yaw: float = 0.0
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)

    @property
    def matrix(self) -> np.ndarray:
        """[3, 3] intrinsic matrix."""
        return np.array([[self.focal[0], 0, self.centre[0]], [0, self.focal[1], self.centre[1]], [0, 0, 1]])

    @property
    def rotation(self) -> np.ndarray:
        """[3, 3] from road coordinates to the camera's: x right, y down, z forward."""
        upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        sy, cy, sp, cp = np.sin(self.yaw), np.cos(self.yaw), np.sin(self.pitch), np.cos(self.pitch)
        sr, cr = np.sin(self.roll), np.cos(self.roll)
        yaw = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        roll = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
        return roll @ pitch @ yaw @ upright

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 3] of the road in the camera's coordinates [n, 3]; the third is the distance ahead."""
        return (points - (0, 0, self.above)) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 3] in metres as pixels [n, 2]; NaN for what is not in front of the camera."""
        ahead = self.seen(np.asarray(points, np.float64).reshape(-1, 3))
        pixels = np.full((len(ahead), 2), np.nan)
        front = ahead[:, 2] > 0.1
        if front.any():
            zero = np.zeros(3)
            pixels[front] = cv2.projectPoints(ahead[front], zero, zero, self.matrix, np.array(self.distortion))[0][:, 0]
        return pixels

    def ground(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels [n, 2] as metres [n, 2] (right, forward) on the flat road; NaN at or above the horizon."""
        pixels = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        if not len(pixels):
            return np.zeros((0, 2))
        straight = cv2.undistortPoints(pixels, self.matrix, np.array(self.distortion))[:, 0]
        rays = np.column_stack([straight, np.ones(len(straight))]) @ self.rotation  # the inverse of a rotation is its transpose
        down = -rays[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            metres = rays[:, :2] * (self.above / down)[:, None]
        metres[down <= 1e-6] = np.nan
        return metres

    def horizon(self) -> float:
        """The image row of the horizon straight ahead, pixels; without distortion."""
        return self.centre[1] - self.focal[1] * float(np.tan(self.pitch))

    def resized(self, width: int, height: int) -> Camera:
        """The same camera with images of another size."""
        sx, sy = width / self.width, height / self.height
        focal, centre = (self.focal[0] * sx, self.focal[1] * sy), (self.centre[0] * sx, self.centre[1] * sy)
        return Camera(width, height, focal, centre, self.above, self.pitch, self.roll, self.yaw, self.distortion)
