from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from shared.models.cnn import ResidualNet, fuse
from usecases.lane_detection.anchors import SLOTS, STRIDE, Grid, smooth
from usecases.lane_detection.config import LaneConfig, Model
from usecases.lane_detection.detector import LaneDetector, apart
from usecases.lane_detection.lanes import Line, at_rows, line
from usecases.lane_detection.network import LaneNetwork, expected, losses, objective
from usecases.lane_detection.packing import Packed, moved, tinted
from usecases.lane_detection.tracking import Detected

SMALL = Model(width=128, height=96, widths=(8, 12, 16), blocks=(1, 1, 1), features=8, top=0.0)
GRID = Grid(SMALL.width, SMALL.height)


def straight(bottom: float, top: float = 64.0) -> Line:
    """A line from (top, 30) to (bottom, 95)."""
    rows = np.linspace(30, 95, 40)
    return line(np.column_stack([top + (bottom - top) * (rows - 30) / 65, rows]))


def test_lines_come_back_from_their_cells() -> None:
    given = [straight(20.0), straight(50.0), straight(90.0)]
    columns, _ = GRID.encode(given)
    back = [one for one in GRID.decode(columns, ~np.isnan(columns)) if one is not None]
    assert len(back) == 3
    for one, other in zip(given, back, strict=True):
        np.testing.assert_allclose(np.interp(other[:, 1], one[:, 1], one[:, 0]), other[:, 0], atol=1e-3)
        assert abs(other[0, 1] - one[0, 1]) <= STRIDE
        assert abs(other[-1, 1] - one[-1, 1]) <= STRIDE


def test_slots_are_counted_from_the_car_outwards() -> None:
    lines = [straight(x) for x in (-80.0, -40.0, 10.0, 50.0, 80.0)]
    taken = ~np.isnan(GRID.encode(lines)[0]).all(1)
    assert taken.tolist() == [True, True, True, True, False, False]  # the fourth on the left is left out
    own, _ = GRID.encode([straight(50.0), straight(80.0)])
    assert (~np.isnan(own)).any(1).tolist() == [False, False, True, True, False, False]


def test_a_line_in_the_middle_may_be_on_either_side() -> None:
    clear, same = GRID.encode([straight(20.0), straight(100.0)])
    assert clear is same
    for x, sides in ((60.0, ([2, 3], [3, 4])), (68.0, ([2, 3], [1, 2]))):
        others = straight(125.0) if x < 64 else straight(3.0)
        readings = GRID.encode([straight(x), others])
        assert [np.flatnonzero(~np.isnan(one).all(1)).tolist() for one in readings] == list(sides)
        np.testing.assert_array_equal(np.sort(readings[0][~np.isnan(readings[0])]), np.sort(readings[1][~np.isnan(readings[1])]))


def test_either_reading_is_as_good_to_the_loss() -> None:
    readings = [torch.from_numpy(one)[None] for one in GRID.encode([straight(60.0), straight(125.0)])]
    cells = SMALL.width // STRIDE

    def perfect(target: torch.Tensor) -> dict[str, torch.Tensor]:
        there = ~target.isnan()
        near = -8.0 * (torch.arange(cells) - target.nan_to_num().unsqueeze(3)).abs()
        return {"columns": near, "rows": there.float() * 20 - 10, "exist": there.any(2).float() * 20 - 10}

    class Says(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return perfect(readings[int(images.sum())])

    batch = {"columns": readings[0], "other": readings[1]}
    first, second = (objective(Says(), {**batch, "image": torch.tensor(float(n))})["loss"].item() for n in (0, 1))
    assert first == pytest.approx(second, rel=1e-5)
    strict = objective(Says(), {"columns": readings[0], "other": readings[0], "image": torch.tensor(1.0)})["loss"].item()
    assert strict > 5 * second


def test_a_smoothed_line_passes_outliers_by_and_keeps_straight_lines() -> None:
    places = np.arange(5, 45)
    line_ = 20 + 0.7 * places
    np.testing.assert_allclose(smooth(line_, np.ones(40), places), line_, atol=1e-6)
    noise = np.random.default_rng(0).normal(0, 0.3, 40)
    noise[[10, 11, 25]] += 8.0
    found = smooth(line_ + noise, np.ones(40), places)
    assert np.abs(found - line_).max() < 0.5
    gappy = np.delete(places, slice(10, 20))
    np.testing.assert_allclose(smooth(20 + 0.7 * gappy, np.ones(30), gappy), 20 + 0.7 * gappy, atol=1e-6)


def test_of_more_than_three_on_a_side_the_outer_ones_are_left_out() -> None:
    lines = [straight(x, 60 + x / 40) for x in (66.0, 80.0, 94.0, 108.0)]
    columns, _ = GRID.encode(lines)
    assert np.isnan(columns[:3]).all()
    np.testing.assert_allclose(columns[5][-2], (np.interp(GRID.rows[-2], lines[2][:, 1], lines[2][:, 0]) + 0.5) / STRIDE - 0.5)


def test_what_is_outside_the_image_is_not_there() -> None:
    columns, _ = GRID.encode([straight(-100.0)])
    inside = ~np.isnan(columns).all(0)
    assert inside.any()
    assert not inside[-1]
    assert (columns[~np.isnan(columns)] >= -0.5).all()


def test_a_column_is_the_mean_near_the_likeliest() -> None:
    logits = torch.full((1, 1, 20), -30.0)
    logits[0, 0, 7], logits[0, 0, 8] = 2.0, 2.0
    logits[0, 0, 15] = 1.9  # far away, and less likely
    assert expected(logits).item() == pytest.approx(7.5, abs=1e-4)
    edge = torch.full((1, 1, 20), -30.0)
    edge[0, 0, 0] = 5.0
    assert expected(edge).item() == pytest.approx(0.0, abs=1e-4)


def test_the_network_learns_one_frame_by_heart_and_finds_its_lines_again() -> None:
    torch.manual_seed(0)
    image = np.full((SMALL.height, SMALL.width, 3), 90, np.uint8)
    lines = [straight(20.0), straight(90.0)]
    for one in lines:
        cv2.polylines(image, [np.round(one).astype(np.int32)], False, (240, 240, 240), 2)
    data = Packed(GRID)
    data.add(image, lines)
    data.add(np.full_like(image, 90), [])
    batch = data.__getitems__([0, 1])
    network = LaneNetwork(SMALL).train()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(120):
        loss = objective(network, batch)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    detector = LaneDetector(LaneConfig(model=SMALL), network)
    found, nothing = detector([image, np.full_like(image, 90)])
    assert nothing == []
    assert len(found) == 2
    for one, wanted in zip(found, lines, strict=True):
        error = np.abs(at_rows(wanted, one.line[:, 1]) - one.line[:, 0])  # NaN beyond the ends
        assert np.nanmean(error) < 1.0
    twice = detector([cv2.resize(image, (256, 192))])[0]  # lines are in the image's own pixels
    assert twice[0].line[-1, 0] == pytest.approx(2 * found[0].line[-1, 0], abs=4)


@pytest.mark.parametrize("edge", [-0.49, SMALL.width / STRIDE - 0.51])
def test_a_line_at_the_images_edge_gives_no_reward_for_nonsense(edge: float) -> None:
    """In the outermost half cells there is no second cell to share with; the loss must not fall below 0 there."""
    cells = SMALL.width // STRIDE
    target = torch.full((1, SLOTS, SMALL.height // STRIDE), edge)
    columns = torch.zeros(1, SLOTS, SMALL.height // STRIDE, cells)
    columns[..., 1 if edge < 0 else cells - 2] = -80.0
    shown = torch.full(target.shape, 9.0)
    assert losses({"columns": columns, "rows": shown, "exist": shown[..., 0]}, target).item() > 0


def test_the_loss_has_gradients_where_no_frame_has_a_line() -> None:
    network = LaneNetwork(SMALL)
    batch = {"image": torch.zeros(2, 3, SMALL.height, SMALL.width, dtype=torch.uint8)}
    batch["columns"] = batch["other"] = torch.full((2, SLOTS, SMALL.height // STRIDE), torch.nan)
    loss = objective(network, batch)["loss"]
    assert torch.isfinite(loss)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_a_fused_network_is_the_same_function() -> None:
    torch.manual_seed(0)
    network = ResidualNet((8, 16), (2, 1), 8)
    for _ in range(3):
        network(torch.randn(4, 3, 32, 32))  # means and deviations that are not 0 and 1
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = network.eval()(image)
        after = fuse(network)(image)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_lines_move_with_the_image() -> None:
    one = straight(90.0)
    image = np.zeros((SMALL.height, SMALL.width, 3), np.uint8)
    cv2.polylines(image, [np.round(one * 16).astype(np.int32)], False, (255, 255, 255), 1, cv2.LINE_AA, 4)
    random = np.random.default_rng(0)
    seen = 0
    for _ in range(20):
        other, lines = moved(image, [one], random)
        for drawn in lines:
            inside = (drawn > 2).all(1) & (drawn[:, 0] < SMALL.width - 3) & (drawn[:, 1] < SMALL.height - 3)
            x, y = np.round(drawn[inside]).astype(int).T
            near = np.stack([other[y, np.clip(x + dx, 0, SMALL.width - 1), 0] for dx in (-1, 0, 1)]).max(0)
            assert (near > 40).all()
            seen += inside.sum()
    assert seen > 200


def test_changes_follow_torchs_seed_and_leave_sizes_alone() -> None:
    data = Packed(GRID, changed=True)
    data.add(np.random.default_rng(0).integers(0, 255, (180, 320, 3), np.uint8), [straight(90.0) * 2])
    torch.manual_seed(1)
    first = data.__getitems__([0, 0])
    torch.manual_seed(1)
    again = data.__getitems__([0, 0])
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"][0], first["image"][1])
    assert first["image"].shape == (2, 3, SMALL.height, SMALL.width)
    assert first["image"].is_contiguous(memory_format=torch.channels_last)
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert tinted(grey, np.random.default_rng(0)).shape == grey.shape


def test_what_the_network_sees_is_cut_and_lines_with_it() -> None:
    grid = Grid(128, 96, top=0.2)
    image = np.zeros((720, 1280, 3), np.uint8)
    drawn = line([[400.0, 100.0], [700.0, 700.0]])
    dense = line(np.column_stack([np.linspace(400, 700, 200), np.linspace(100, 700, 200)]))
    cv2.polylines(image, [np.round(drawn).astype(np.int32)], False, (255, 255, 255), 12)
    seen = grid.cut(image)
    assert seen.shape == (96, 128, 3)
    (inside,) = grid.inward([dense], 1280, 720)
    assert inside[0, 1] > -STRIDE
    x, y = np.round(inside[inside[:, 1] >= 0]).astype(int).T
    assert (seen[y, x, 0] > 60).all()
    back = grid.outward(inside, 1280, 720)
    np.testing.assert_allclose(np.interp(back[:, 1], dense[:, 1], dense[:, 0]), back[:, 0], atol=0.01)
    assert grid.inward([dense[:4]], 1280, 720) == []  # all of it lies above


def test_of_lines_at_one_place_the_surer_one_is_kept() -> None:
    one, near, far = straight(50.0), straight(51.0), straight(90.0)
    kept = apart([Detected(one, 0.6), Detected(near, 0.9), Detected(far, 0.5)], 3.0)
    assert [found.confidence for found in kept] == [0.9, 0.5]
    upper, lower = one[:10], one[20:]
    assert len(apart([Detected(upper, 0.6), Detected(lower, 0.9)], 3.0)) == 2  # no row in common
