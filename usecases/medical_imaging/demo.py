"""The page: simulated cases or one's own file; heat map and outline laid over it, how sure the model is, who should decide."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from sklearn.datasets import load_sample_images

from shared.errors import UserError
from shared.serving.demo import Demo, slider
from shared.serving.pieces import bars, facts, notice, picture
from usecases.medical_imaging import found as finding
from usecases.medical_imaging import reading, simulator
from usecases.medical_imaging.answers import sizes
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.found import Found
from usecases.medical_imaging.overlay import certainty, encode, percent

SEED = 77  # of the simulated people; those of training and judging have others
OFFERED = {  # name: the person, the share of ill ones among whom he or she is, which of five slices
    "Mass": (7, 0.8, (3,)),
    "Healthy": (1, 0.0, (1,)),
    "Hard to see": (9, 0.8, (2,)),
    "Misleading": (0, 0.0, (0,)),
    "Diffuse": (12, 0.8, (2,)),
    "Five slices": (6, 0.8, (0, 1, 2, 3, 4)),
}
STRANGER = "Photograph"
THUMB, SHOWN = 112, 832  # pixels of the longer side
FLATTEST = 4  # times as wide as high, or as high as wide, is the least square picture that is shown in its proportions
KINDS = "PNG, JPEG, TIFF, BMP, DICOM and NIfTI can be read."
OWN = "PNG, JPEG, TIFF, DICOM, NIfTI. Deleted within 2 hours; names in headers stay hidden."
HEAT, OUTLINE = 60, 90  # percent, opacity to begin with
LAY = "value => {{ document.documentElement.style.setProperty('--{}', value / 100); return [] }}"
STYLE = """
#device { position: fixed; inset: auto 0 0 0; z-index: 20; padding: .5rem 1.25rem; background: var(--wash); color: var(--ink);
  border-top: 2px solid var(--warn); text-align: center; font-size: .82rem; line-height: 1.35; }
.gradio-container .main { padding-bottom: 7rem !important; }
#cases .wrap { display: flex; flex-wrap: nowrap; overflow-x: auto; gap: .6rem; padding: 3px; }
#cases label { display: grid; grid-template-columns: auto 1fr; flex: 1 0 6.6rem; max-width: 9rem; gap: .4rem .35rem;
  align-content: start; padding: .4rem; }
#cases label::before { content: ""; grid-column: 1 / -1; height: 5.4rem; border-radius: 6px; background: #000 center / cover; }
#cases label span { white-space: normal; margin: 0; font-size: .85rem; line-height: 1.2; }
.gradio-container:not(:has(.heat)) #lay { display: none; }
#file + * p { font-size: .82rem; line-height: 1.4; }
#file .icon-wrap { display: none; }
.layers { position: relative; background: #000; border-radius: 8px; overflow: hidden; max-width: 24rem; margin: 0 auto; }
.gradio-container .layers > * { position: absolute !important; inset: 0; width: 100% !important; height: 100% !important;
  margin: 0 !important; border-radius: 0; max-width: none; object-fit: fill; }
.layers .heat { opacity: var(--heat, .6); }
.layers .mask { opacity: var(--mask, .9); }
.layers path { fill: rgb(64 224 255 / .22); stroke: #40e0ff; stroke-width: 2px; vector-effect: non-scaling-stroke; }
.verdict h2 { font-size: 1.9rem; line-height: 1.15; margin: .1rem 0 .8rem !important; color: var(--ink); }
.verdict .notice.warning { border-color: var(--warn); background: color-mix(in srgb, var(--warn) 14%, var(--paper)); }
.verdict > small { color: var(--soft); font-size: .9rem; }
.notice strong { display: block; font-size: 1.15rem; color: inherit; }
.gradio-container .notice ul { margin: .2rem 0 0 !important; padding-left: 1.2rem; }
.scale { margin: 0 0 1.4rem; color: var(--ink); }
.scale p { margin: 0 0 .5rem !important; }
.scale div { position: relative; height: 1.1rem; border-radius: 4px; background: var(--wash); border: 1px solid var(--line); }
.scale i { position: absolute; top: 0; bottom: 0; min-width: 4px; border-radius: 3px; background: var(--accent); opacity: .55; }
.scale b { position: absolute; top: -.25rem; bottom: -.25rem; width: 4px; margin-left: -2px; background: var(--ink); }
.scale u { position: absolute; top: -.35rem; bottom: -.35rem; border-left: 2px dashed var(--warn); }
.scale span { display: flex; justify-content: space-between; font-size: .85rem; color: var(--soft); margin-top: .35rem; }
.scale em { font-style: normal; }
"""


def page(demo: Demo) -> None:
    """Build it."""
    finder: Finder = demo.predictor.finder
    try:
        cases, lacking = offered(bool(demo.about.get("data", {}).get("simulated"))), ""
    except UserError as error:
        cases, lacking = offered(False), f"There are no simulated cases to try. {error}"
    first = next(iter(cases))

    def look(case: str | None, path: str | None, number: float) -> tuple[Markup, Markup]:
        if not case and not path:
            return Markup(""), notice("Choose a case, or upload a file.")
        try:
            shown = cases[case][int(number) - 1] if case else image_of(path or "", int(number))
        except OSError as error:
            return Markup(""), notice(f"This file cannot be used: {error}. {KINDS}", "bad")
        found = finder([shown])[0]  # not `demo.predict`: a response has no heat map by itself
        return layers(shown, found, finder.classes), verdict(finder, shown, found)

    def choose(case: str) -> tuple[None, gr.Slider, Markup, Markup]:
        return None, frames(len(cases[case])), *look(case, None, 1)

    def upload(path: str | None) -> tuple[None, gr.Slider, Markup, Markup]:
        return None, frames(reading.count(Path(path)) if path else 1), *look(None, path, 1)

    rests = f"What speaks for {finder.classes[1]}" if len(finder.classes) == 2 else "What the finding rests on"
    begun = look(first, None, 1)
    gr.HTML(
        Markup('<div id="device">{}</div><style>{}{}</style>').format(finding.notice(demo.about), Markup(STYLE), thumbs(cases))
    )
    gr.HTML(notice(lacking, "warning"), visible=bool(lacking), padding=False)
    with gr.Row():
        with gr.Column(scale=4, min_width=290):
            case = gr.Radio(list(cases), value=first, label="Try a case", elem_id="cases")
        with gr.Column(scale=1, min_width=220):
            file = gr.File(label="Or your own", type="filepath", height=118, elem_id="file")
            gr.HTML(Markup('<p class="soft">{}</p>').format(OWN), padding=False)
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            said = gr.HTML(begun[1], label="What the model says", padding=False)
        with gr.Column(scale=1, min_width=290):
            number = frames(len(cases[first]))
            image = gr.HTML(begun[0], label="The picture", padding=False)
            with gr.Group(elem_id="lay"):
                heat = slider(0, 100, HEAT, step=5, label="Heat map, %", info=rests)
                mask = slider(0, 100, OUTLINE, step=5, label="Outline, %", info="Where it is", visible=outlines(finder))
    for layer, name in ((heat, "heat"), (mask, "mask")):
        layer.change(None, layer, None, js=LAY.format(name))
    # One after the other: what was asked for last is shown last.
    turn: dict[str, Any] = {"trigger_mode": "always_last", "concurrency_limit": 1, "concurrency_id": "look"}
    case.input(choose, case, [file, number, image, said], show_progress="minimal", **turn)
    gr.on([file.upload, file.clear], upload, file, [case, number, image, said], show_progress="minimal", **turn)
    number.input(look, [case, file, number], [image, said], show_progress="hidden", **turn)


def offered(simulated: bool) -> Mapping[str, Sequence[Picture]]:
    """Pictures to try: of simulated people, if the model learnt from such, and what no model of medical images knows."""
    found: dict[str, Sequence[Picture]] = {}
    for name, (person, ill, slices) in OFFERED.items() if simulated else ():
        made = simulator.cases(SEED, person, 1, 5, ill)
        found[name] = [made[k].picture() for k in slices]
    photo = load_sample_images().images[1]
    return {**found, STRANGER: [Picture("photo", (photo / 255).astype(np.float32))]}


def image_of(path: str, number: int) -> Picture:
    """One of the images, from 1, of a file.

    Raises:
        OSError: it cannot be read; the message says why, and quotes nothing from the file.
    """
    found = next(islice(reading.read(Path(path), ""), number - 1, None), None)
    if found is None:
        raise OSError(f"it holds fewer than {number} images")
    return found


def frames(count: int) -> gr.Slider:
    """What chooses one of several images of a file."""
    return slider(1, max(2, count), 1, step=1, label=f"Slice, of {count}", visible=count > 1)


def outlines(finder: Finder) -> bool:
    return finder.networks[0].decoder is not None


def thumbs(cases: Mapping[str, Sequence[Picture]]) -> Markup:
    """CSS that puts a small picture on each case's button."""
    rule = Markup("#cases label:nth-child({})::before {{ background-image: url(data:image/jpeg;base64,{}) }}\n")
    small = (limited(_bytes(pictures[0].pixels), THUMB) for pictures in cases.values())
    return Markup("").join(
        rule.format(place, base64.b64encode(encode(one, ".jpg")).decode("ascii")) for place, one in enumerate(small, 1)
    )


def layers(shown: Picture, found: Found, classes: Sequence[str]) -> Markup:
    """The picture, its heat map and its outline, one above the other; their opacity is the browser's business."""
    height, width = shown.pixels.shape[:2]
    rows, columns = shown.spacing or (1.0, 1.0)
    aspect = min(max(width * columns / (height * rows), 1 / FLATTEST), FLATTEST)
    told = f"The picture, {width} by {height} pixels. The model's finding: {found.finding(classes)}."
    if found.mask is not None and found.mask.any():
        told += f" {percent(found.mask.mean())}% of it are outlined."
    made = [picture(limited(_bytes(shown.pixels), SHOWN), told)]
    if found.judged:
        made.append(Markup('<img class="heat" src="data:image/png;base64,{}" alt="">').format(_png(heated(found.heat))))
    if found.mask is not None:
        form = '<svg class="mask" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true"><path d="{}"/></svg>'
        made.append(Markup(form).format(width, height, outline(found.mask)))
    return Markup('<div class="layers" style="aspect-ratio:{:.4f}">{}</div>').format(aspect, Markup("").join(made))


def heated(heat: np.ndarray) -> np.ndarray:
    """BGRA uint8 of heat 0..1 [height, width]: the more it counts, the less it lets through."""
    small = np.clip(limited(heat.astype(np.float32), SHOWN // 2), 0, 1)
    colours = mpl.colormaps["inferno"](0.3 + 0.65 * small)[..., 2::-1]
    opacity = np.clip((small - 0.1) / 0.6, 0, 1)[..., None]
    return np.asarray(255 * np.concatenate([colours, opacity], 2) + 0.5, np.uint8)


def outline(mask: np.ndarray) -> str:
    """The border of a bool mask [height, width] as an SVG path whose unit is a pixel; small masks without their steps."""
    times = 4 if max(mask.shape) <= SHOWN // 4 else 1
    large = cv2.resize(mask.astype(np.float32), None, fx=times, fy=times) > 0.5
    contours, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    lines = (" ".join(f"{(x + 0.5) / times:g},{(y + 0.5) / times:g}" for x, y in contour[:, 0]) for contour in contours)
    return "".join(f"M{line}Z" for line in lines)


def verdict(finder: Finder, shown: Picture, found: Found) -> Markup:
    """What the model says of a picture, and whether to believe it."""
    made = [Markup("<h2>Finding: {}</h2>").format(found.finding(finder.classes))]
    if found.reasons:
        reasons = Markup("").join(Markup("<li>{}</li>").format(reason[:1].upper() + reason[1:]) for reason in found.reasons)
        made.append(notice(Markup("<strong>Refer to a human</strong><ul>{}</ul>").format(reasons), "warning"))
    else:
        made.append(notice(Markup("<strong>Not referred</strong>{}").format(trust(finder)), "good"))
    tiles = {"Novelty (refused from 1)": f"{found.novelty:.2f}" if found.novelty < 10 else f"{found.novelty:.0f}"}
    if found.judged:
        made.append(chance(finder, found))
        tiles |= measured(shown, found)
    return Markup('<div class="verdict">{}{}<small>{}</small></div>').format(Markup("").join(made), facts(tiles), truth(shown))


def trust(finder: Finder) -> str:
    """What it means that a decision is not referred."""
    if finder.abstention is None:
        return "The limits of its probability allow no other decision."
    risk = f"{finder.config.decide.risk:.0%}"
    return f"Of decisions as sure as this one at most {risk} are wrong, for patients like those it learnt from."


def chance(finder: Finder, found: Found) -> Markup:
    """The probability with its limits: of two classes always the second's, with where it begins to be called."""
    classes, label = finder.classes, found.label
    two = len(classes) == 2
    p, low, high = float(found.probabilities[label]), found.low, found.high
    if two and label == 0:
        label, p, low, high = 1, 1 - p, 1 - high, 1 - low
    mark = Markup('<u style="left:{:.1f}%"></u>').format(100 * finder.threshold) if two else ""
    below = f"Called {classes[1]} from {percent(finder.threshold)}% on (dashed)" if two else ""
    drawn = Markup(
        '<div class="scale"><p>Probability of {}: <strong>{}</strong></p><div role="img" aria-label="Between {} and {}%">'
        '<i style="left:{:.1f}%;width:{:.1f}%"></i>{}<b style="left:{:.1f}%"></b></div>'
        "<span><em>0%</em><em>{}</em><em>100%</em></span></div>"
    ).format(
        classes[label], certainty(p, low, high), percent(low), percent(high), 100 * low, 100 * (high - low), mark, 100 * p, below
    )
    every = {name: 100 * float(value) for name, value in zip(classes, found.probabilities, strict=True)}
    return drawn if two else drawn + bars(every, "Of all classes, %", "{:.0f}")


def measured(shown: Picture, found: Found) -> dict[str, str]:
    """How large what is outlined is: in millimetres where the file tells a pixel's size."""
    if found.mask is None:
        return {}
    if not found.mask.any():
        return {"Area": "nothing outlined"}
    area, diameter = sizes(found, shown)
    if area is None:
        return {"Area (the file tells no size of pixels)": f"{100 * found.mask.mean():.1f}% of the picture"}
    return {"Area": f"{area:,.0f} mm²", "Largest diameter": f"{diameter:.0f} mm"}


def truth(shown: Picture) -> str:
    """What is known of a simulated picture."""
    about = shown.about
    if about.get("format") != "simulated":
        return ""
    area = float(about["lesion_mm2"])
    kind = f"a lesion ({about.get('lesion_kind')}) of {area:,.0f} mm²" if area else "no lesion in this slice"
    return f"What the simulator drew: {kind}, {about['contrast']}."


def limited(image: np.ndarray, side: int) -> np.ndarray:
    """Its longer side no longer than that."""
    scale = side / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return image if scale >= 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _bytes(pixels: np.ndarray) -> np.ndarray:
    """uint8 of 0..1."""
    return (255 * np.clip(np.nan_to_num(pixels), 0, 1) + 0.5).astype(np.uint8)


def _png(bgra: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", bgra)[1].tobytes()).decode("ascii")
