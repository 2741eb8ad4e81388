"""The anatomy of a simulated person: the MNI152 template, deformed at random. Nobody's brain.

The template is the ICBM 152 nonlinear symmetric 2009a average (Fonov, Evans et al., NeuroImage 2011) in the 8-bit files that
nilearn carries: T1, grey matter and white matter at 1 mm. It is an average of 152 people and has no skull: sulci are shallower
than a person's, and what lies around the brain is made here, as layers at a distance from the brain's hull.

Slices are cut one at a time. Where each pixel lies in the template is worked out on a coarse grid (everything that bends is
smooth) and looked up in the planes of the template laid side by side in one picture, which is quick.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

from shared.errors import UserError, require

CENTRE = np.array([98.0, 117.0, 92.0], np.float32)  # voxel about which heads turn and differ in size
VENTRICLES = np.array([98.0, 118.0, 88.0], np.float32)  # voxel between the lateral ventricles
BRIDGED = 24.0  # mm: gaps of the brain's surface that the hull closes, such as between temporal lobe and cerebellum
CODE = 4.0  # steps of the coded distance in a millimetre
REACH = 128.0  # mm that the grids of a deformation span on each side of the centre
SMOOTH = 1.7  # steps of the coarse grid over which the hull is smoothed: skulls are rounder than brains
AROUND = 10  # steps of 2 mm around the template in which distances are known too: room for the scalp
MARGIN = 5  # steps of the coarse grid beyond each edge of the image, so that smoothing knows what follows there
STEPS = 48  # of the grid on which places are worked out, along each side of an image of any size


@dataclass(frozen=True)
class Atlas:
    """The template's planes side by side, and how far each place is from its hull.

    Attributes:
        planes: uint8 [rows, columns, 2] of T1 and white matter;
            plane z begins at row `top[z]`, column `left[z]`, and has y as rows, x as columns.
        top, left: [planes] float32.
        shape: voxels in x, y, z.
        distance: [x, y, z] uint8, 128 + 4 * (mm outside the hull), in steps of 2 mm and with AROUND more steps on each side.
        tissue: [x, y, z] bool of the same places, grey or white matter.
    """

    planes: np.ndarray
    top: np.ndarray
    left: np.ndarray
    shape: tuple[int, int, int]
    distance: np.ndarray
    tissue: np.ndarray


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Read nilearn's template. Raises UserError where nilearn is missing or came without it."""
    require("nilearn", "medical")
    nibabel = require("nibabel", "medical")
    found = importlib.util.find_spec("nilearn")
    folder = Path(str(found.origin if found else "")).parent / "datasets" / "data"
    volumes = []
    for kind in ("t1", "gm", "wm"):
        path = folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
        if not path.is_file():
            raise UserError(
                f"The installed nilearn came without its template ({path.name}). Install it again: pip install nilearn"
            )
        volumes.append(np.asarray(nibabel.load(path).dataobj))
    t1, grey, white = volumes
    distance = _distance(t1[::2, ::2, ::2] > 0)
    width, height, deep = t1.shape
    across = int(np.ceil(np.sqrt(deep)))
    planes = np.zeros((across * height, across * width, 2), np.uint8)
    top, left = height * (np.arange(deep) // across), width * (np.arange(deep) % across)
    for z in range(deep):
        for channel, volume in enumerate((t1, white)):
            planes[top[z] : top[z] + height, left[z] : left[z] + width, channel] = volume[:, :, z].T
    tissue = (grey[::2, ::2, ::2].astype(np.int16) + white[::2, ::2, ::2]) > 178
    tissue = np.pad(tissue, AROUND)
    return Atlas(planes, top.astype(np.float32), left.astype(np.float32), (width, height, deep), distance, tissue)


def _distance(brain: np.ndarray) -> np.ndarray:
    """Coded distance from the hull of a brain [x, y, z] with voxels of 2 mm, worked out in steps of 4 mm.

    The hull goes on below the lowest plane, where the template ends and the neck begins.
    """
    coarse = brain[::2, ::2, ::2]
    below, pad = 8, int(BRIDGED / 4) + 1
    mask = np.concatenate([np.repeat(coarse[:, :, :1], below, 2), coarse], 2)
    mask = np.pad(mask, ((pad, pad), (pad, pad), (0, pad)))
    grown = ndimage.distance_transform_edt(~mask) * 4 <= BRIDGED
    hull = ndimage.distance_transform_edt(grown) * 4 > BRIDGED
    signed = ndimage.distance_transform_edt(~hull) - ndimage.distance_transform_edt(hull)
    signed = ndimage.gaussian_filter(signed * 4, 0.6)[:, :, below - pad :]
    at = [np.arange(-AROUND, n + AROUND, dtype=np.float32) / 2 + pad for n in brain.shape]
    fine = ndimage.map_coordinates(signed, np.meshgrid(*at, indexing="ij"), np.float32, order=1, mode="nearest")
    return np.clip(128 + CODE * fine, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Push:
    """A mass that moves what surrounds it: from `centre` (mm of the person) outwards by up to `by` mm beyond `radius` mm."""

    centre: tuple[float, float, float]
    radius: float
    by: float


@dataclass(frozen=True)
class Body:
    """How a simulated person differs from the template. Places are x (to the image's right), y (front), z (up) in mm.

    Attributes:
        turn: [3, 3] from the person's mm to the template's, size included.
        shift: [3] mm.
        bends: displacements in mm, [z, y, x, 3] on even grids over REACH to each side.
        ventricles: how much the middle of the brain is magnified, 0..0.5; below 0 it is shrunk.
        sulci: T1 value of the template (0..255) below which a voxel begins to be fluid: higher means wider sulci.
        crisp: width of the step between grey and white, of the maps' range; less is sharper.
        stripped: no skull.
        layers: mm of fluid, bone, and scalp from the hull outwards.
        uneven: [6, 8, 8] mm by which the layers' places vary over the head.
    """

    turn: np.ndarray
    shift: np.ndarray
    bends: tuple[np.ndarray, ...]
    ventricles: float
    sulci: float
    crisp: float
    stripped: bool
    layers: tuple[float, float, float]
    uneven: np.ndarray


def body(rng: np.random.Generator) -> Body:
    """A random simulated person."""
    nod, lean, yaw = np.deg2rad(rng.normal(0, (6, 2.5, 4)))
    about_x = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]])
    about_y = np.array([[np.cos(lean), 0, np.sin(lean)], [0, 1, 0], [-np.sin(lean), 0, np.cos(lean)]])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    size = rng.normal(1, 0.04) * rng.normal(1, (0.04, 0.04, 0.03))
    bends = (rng.normal(0, 3.0, (5, 5, 5, 3)), rng.normal(0, 1.9, (11, 11, 11, 3)), rng.normal(0, 0.8, (20, 20, 20, 3)))
    old = rng.random()
    return Body(
        turn=(about_x @ about_y @ about_z / np.clip(size, 0.85, 1.15)).astype(np.float32),
        shift=rng.normal(0, (3, 4, 0)).astype(np.float32),
        bends=tuple(bend.astype(np.float32) for bend in bends),
        ventricles=float(np.clip(rng.normal(-0.02 + 0.35 * old**2, 0.09), -0.2, 0.5)),
        sulci=float(138 + 22 * old + rng.normal(0, 4)),
        crisp=float(rng.uniform(0.3, 0.7)),
        stripped=bool(rng.random() < 0.2),
        layers=(float(rng.uniform(0.8, 2.5 + 2 * old)), float(rng.uniform(4, 8)), float(rng.uniform(3, 8))),
        uneven=rng.normal(0, 0.9, (6, 8, 8)).astype(np.float32),
    )


def at_height(grid: np.ndarray, z: float) -> np.ndarray:
    """The plane of an even grid [z, y, x, ...] at a height in mm, between the two nearest."""
    at = float(np.clip((z + REACH) / (2 * REACH), 0, 1)) * (len(grid) - 1)
    low = min(int(at), len(grid) - 2)
    plane: np.ndarray = grid[low] + (at - low) * (grid[low + 1] - grid[low])
    return plane


def coarse(size: int, spacing: float) -> np.ndarray:
    """Millimetres from an image's middle to the coarse grid's steps along one side, float32 [n], margins included."""
    steps: np.ndarray = ((np.arange(-MARGIN, STEPS + MARGIN) + 0.5) / STEPS - 0.5) * size * spacing
    return steps.astype(np.float32)


def places(body: Body, z: float, size: int, spacing: float, pushes: tuple[Push, ...] = ()) -> np.ndarray:
    """Voxels of the template that the pixels of a slice show, on the coarse grid: float32 [n, n, 3] of x, y, z.

    The first MARGIN rows and columns, and the last, lie beyond the image's edges.
    """
    along = coarse(size, spacing)
    n, x, y = len(along), along[None, :], -along[:, None]
    voxels = np.empty((n, n, 3), np.float32)
    for k in range(3):
        voxels[..., k] = body.turn[k, 0] * x + body.turn[k, 1] * y + (body.turn[k, 2] * z + body.shift[k] + CENTRE[k])
    for bend in body.bends:
        voxels += cv2.resize(at_height(bend, z), (n, n), interpolation=cv2.INTER_CUBIC)
    away = voxels - VENTRICLES
    voxels -= away * (body.ventricles * np.exp(-np.square(away / (32, 42, 28)).sum(2) / 2))[..., None].astype(np.float32)
    if pushes:
        inside = np.clip((-outside(voxels) - 1) / 18, 0, 1)  # the skull stays where it is
        for push in pushes:
            away = np.stack(np.broadcast_arrays(x - push.centre[0], y - push.centre[1], np.float32(z - push.centre[2])), 2)
            far = np.sqrt(np.square(away).sum(2)) + 1e-3
            by = push.by * np.minimum(far / push.radius, np.exp(-np.maximum(far - push.radius, 0) / 22)) * inside
            voxels -= away * (by / far)[..., None].astype(np.float32)
    return voxels


def outside(voxels: np.ndarray) -> np.ndarray:
    """Distance in mm from the template's hull at voxels [..., 3], to the nearest 2 mm; below 0 inside."""
    return (_nearest(atlas().distance, voxels).astype(np.float32) - 128) / CODE


def in_tissue(voxels: np.ndarray) -> np.ndarray:
    """Whether voxels [..., 3] are grey or white matter, to the nearest 2 mm."""
    return _nearest(atlas().tissue, voxels)


def _nearest(volume: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    x, y, z = (np.clip(voxels[..., k] / 2 + (AROUND + 0.5), 0, volume.shape[k] - 1).astype(np.intp) for k in range(3))
    found: np.ndarray = volume[x, y, z]
    return found


@dataclass(frozen=True)
class Tissues:
    """Shares of each pixel, float32 [size, size]: fluid, grey and white add up to 1 within the hull.

    Attributes:
        brain: share that lies within the template's brain, its fluid spaces included.
        out: mm outside the smoothed hull; below 0 inside. Brain may reach a little beyond it.
    """

    fluid: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    brain: np.ndarray
    out: np.ndarray


def cut(body: Body, z: float, size: int, voxels: np.ndarray) -> Tissues:
    """The tissues of a slice whose places were worked out, at full resolution."""
    far = outside(voxels)
    near = cv2.GaussianBlur(far, (0, 0), SMOOTH) + cv2.resize(at_height(body.uneven, z), voxels.shape[1::-1])
    shown = slice(MARGIN, -MARGIN)
    voxels, far, near = voxels[shown, shown], far[shown, shown], near[shown, shown]
    out = cv2.resize(near, (size, size), interpolation=cv2.INTER_CUBIC)
    brain, white = np.zeros((2, size, size), np.float32)
    fluid = np.ones((size, size), np.float32)
    rows, columns = (
        _span(np.flatnonzero((far < 6).any(axis)), size) for axis in (1, 0)
    )  # the rest is skull and air, and needs no template
    if rows.stop and columns.stop:
        fine = cv2.resize(voxels, (size, size), interpolation=cv2.INTER_LINEAR)[rows, columns]
        t1, bright = cv2.split(_sample(fine))
        inside = np.clip((t1 - 15) / 45, 0, 1)
        wet = np.clip((body.sulci - t1) / 42, 0, 1) * inside + (1 - inside)
        brain[rows, columns], fluid[rows, columns] = inside, wet
        white[rows, columns] = np.clip((bright / 255 - 0.5) / body.crisp + 0.5, 0, 1) * (1 - wet)
    return Tissues(fluid, 1 - fluid - white, white, brain, out)


def _span(found: np.ndarray, size: int) -> slice:
    """The pixels, of `size`, from the first to the last of these steps of the coarse grid."""
    return slice(int(found[0] * size / STEPS), -int(-(found[-1] + 1) * size // STEPS)) if len(found) else slice(0, 0)


def _sample(voxels: np.ndarray) -> np.ndarray:
    """The template at voxels [h, w, 3], between the eight nearest: float32 [h, w, 2] of T1 and white matter."""
    whole = atlas()
    x, y, deep = cv2.split(np.ascontiguousarray(voxels))
    np.clip(x, 0, whole.shape[0] - 1, out=x)
    np.clip(y, 0, whole.shape[1] - 1, out=y)
    np.clip(deep, 0, whole.shape[2] - 1.001, out=deep)
    plane = deep.astype(np.intp)
    lower, upper = (
        cv2.remap(whole.planes, x + whole.left[p], y + whole.top[p], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for p in (plane, plane + 1)
    )
    mixed = lower.astype(np.float32)
    mixed += (upper - mixed) * (deep - plane).astype(np.float32)[..., None]
    return mixed
