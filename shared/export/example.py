"""Runs model.onnx on the samples beside it, with onnxruntime and numpy alone: python example.py"""

import json
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).resolve().parent
about = json.loads((here / "metadata.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(str(here / "model.onnx"), providers=["CPUExecutionProvider"])
with np.load(here / "sample.npz", allow_pickle=False) as sample:
    inputs = {name: sample[name] for name in about["inputs"]}  # what each one holds is told in metadata.json
outputs = dict(zip(about["outputs"], session.run(list(about["outputs"]), inputs), strict=True))
names = about["answer"]["names"]
for number, row in enumerate(outputs[about["answer"]["output"]], 1):
    best = np.argsort(-row, kind="stable")[:3]
    print(f"sample {number}: " + ", ".join(f"{names[place]} {row[place]:.4f}" for place in best))
