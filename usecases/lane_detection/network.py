"""The network: where each line is in every row, where it begins and ends, and whether it is there at all."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from shared.models.cnn import Pyramid, ResidualNet
from usecases.lane_detection.anchors import SLOTS, STRIDE
from usecases.lane_detection.config import Model

Batch = Mapping[str, torch.Tensor]
HEADS = 4
NEAR = 2  # cells around the likeliest that a column is the mean of


class LaneNetwork(nn.Module):
    """Row anchors (Qin et al. 2020, "Ultra Fast Structure-aware Deep Lane Detection") on a residual network's features.

    For every slot and row a distribution over the columns. What the features say where a slot's line lies tells whether it
    is there. Which line belongs to which slot needs a look at the whole image, so all places of the coarsest features
    attend to each other.
    """

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.backbone = ResidualNet(config.widths, config.blocks, config.widths[0])
        coarse = STRIDE * 2 ** (len(config.widths) - 1)
        places = -(-config.height // coarse) * -(-config.width // coarse)
        deep, width = config.widths[-1], config.features
        self.position = nn.Parameter(0.02 * torch.randn(places, deep))
        self.attend = nn.TransformerEncoderLayer(deep, HEADS, 2 * deep, 0.0, batch_first=True, norm_first=True)
        self.pyramid = Pyramid(config.widths, width)
        self.columns = nn.Conv2d(width, SLOTS, 1)
        self.rows = nn.Linear(width, SLOTS)
        self.exist = nn.Sequential(nn.Linear(width + deep, width), nn.ReLU(), nn.Linear(width, 1))
        self.slot = nn.Parameter(torch.zeros(SLOTS, width))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images [batch, 3, height, width], uint8 BGR, to logits.

        Returns:
            columns: [batch, slots, rows, columns].
            rows: [batch, slots, rows] whether the line is in the row.
            exist: [batch, slots].
        """
        x = (images.to(self.position.dtype) - 110) / 60
        features = self.backbone(x)
        tokens = features[-1].flatten(2).transpose(1, 2) + self.position
        tokens = self.attend(tokens)
        features[-1] = tokens.transpose(1, 2).reshape(features[-1].shape)
        fine = self.pyramid(features)
        columns = self.columns(fine)
        likely = columns.float().softmax(3).to(fine.dtype)
        seen = torch.einsum("bsrc,bfrc->bsrf", likely, fine)  # what lies where each line would be
        rows = (seen * self.rows.weight[None, :, None]).sum(3) + self.rows.bias[None, :, None]
        weight = rows.float().sigmoid().to(fine.dtype).unsqueeze(3)
        along = (seen * weight).sum(2) / (weight.sum(2) + 1) + self.slot
        whole = tokens.mean(1, keepdim=True).expand(-1, SLOTS, -1)
        return {"columns": columns, "rows": rows, "exist": self.exist(torch.cat([along, whole], 2)).squeeze(2)}


def expected(columns: torch.Tensor) -> torch.Tensor:
    """The column of each row in cells [..., rows] from logits [..., rows, columns]: the mean near the likeliest."""
    best = columns.argmax(-1, keepdim=True)
    near = best + torch.arange(-NEAR, NEAR + 1, device=columns.device)
    inside = (near >= 0) & (near < columns.shape[-1])
    near = near.clamp(0, columns.shape[-1] - 1)
    logits = columns.gather(-1, near).float().masked_fill(~inside, -torch.inf)
    return (logits.softmax(-1) * near).sum(-1)


def objective(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """The losses of the reading of each frame that the network is nearer to; see `Grid.encode`.

    Args:
        batch: `image` [batch, 3, height, width] uint8; `columns` and `other` [batch, slots, rows] in cells, NaN where none is.
    """
    output = model(batch["image"])
    loss = torch.minimum(losses(output, batch["columns"]), losses(output, batch["other"])).mean()
    return {"loss": loss, **output, "output": output["exist"]}


def losses(output: Mapping[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """[batch]: cross-entropy of the two cells around each line's column, the columns' error, of the rows, and of existence."""
    there = ~target.isnan()
    exist = there.any(2)
    logits = output["columns"].float()
    wanted, last = target.nan_to_num(), logits.shape[3] - 1
    low = wanted.floor().clamp(0, last).long().unsqueeze(3)
    share = (wanted - low.squeeze(3)).clamp(0, 1)  # the outermost half cells have no second cell beside them
    log = logits.log_softmax(3)
    cross = -((1 - share) * log.gather(3, low).squeeze(3) + share * log.gather(3, (low + 1).clamp(max=last)).squeeze(3))
    error = F.smooth_l1_loss(expected(logits), wanted, reduction="none")
    placed = ((cross + 0.2 * error) * there).sum((1, 2)) / there.sum((1, 2)).clamp(min=1)
    shown = F.binary_cross_entropy_with_logits(output["rows"].float(), there.float(), reduction="none")
    shown = (shown * (0.1 + 0.9 * exist.unsqueeze(2))).mean((1, 2))
    exists = F.binary_cross_entropy_with_logits(output["exist"].float(), exist.float(), reduction="none").mean(1)
    return placed + 2 * shown + exists
