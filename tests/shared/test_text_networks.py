"""The packed encoders, against transformers and against texts one by one."""

from __future__ import annotations

import torch

from shared import pretrained
from shared.models.recurrent import BiLSTM
from shared.models.transformer import Bert

TEXTS = [[5 + (7 * row + place) % 40 for place in range(1 + (row * 5) % 11)] for row in range(21)]  # more than one grid holds


def test_a_packed_bert_agrees_with_transformers_and_so_do_its_gradients() -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=12,
    )
    theirs = BertModel(config, add_pooling_layer=False).eval()
    ours = Bert(config.to_dict()).eval()
    ours.load_state_dict(Bert.translated(theirs.state_dict()))
    mask = torch.tensor([[place < len(text) for place in range(11)] for text in TEXTS])
    padded = torch.tensor([text + [0] * (11 - len(text)) for text in TEXTS])
    hidden = theirs(padded, mask.long()).last_hidden_state
    expected = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    made = ours(*pretrained.pack(TEXTS))
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pretrained.embed(ours, TEXTS, batch_size=4), expected.detach(), atol=1e-5, rtol=1e-4)
    expected.square().sum().backward()
    made.square().sum().backward()
    inner = theirs.encoder.layer[0].intermediate.dense.weight.grad
    torch.testing.assert_close(ours.blocks[0].feed[0].weight.grad, inner, atol=1e-4, rtol=1e-3)


def test_an_lstm_reads_a_text_alike_whatever_the_others_in_its_batch() -> None:
    torch.manual_seed(0)
    network = BiLSTM(50, 8, dropout=0.0).eval()
    together = network(*pretrained.pack(TEXTS))
    alone = torch.cat([network(*pretrained.pack([text])) for text in TEXTS])
    torch.testing.assert_close(together, alone)
