"""The report and the model card."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.figure import Figure

from tests.usecases.medical_imaging.conftest import Trained
from usecases.medical_imaging import sections
from usecases.medical_imaging.found import NOTICE


def page(trained: Trained) -> str:
    return (trained.folder / "report.html").read_text("utf-8")


def test_the_notice_stands_before_everything_and_in_the_card(simulated: Trained, folded: Trained) -> None:
    for trained in (simulated, folded):
        assert NOTICE in page(trained)
        assert page(trained).index(NOTICE) < page(trained).index(trained.metrics["conclusion"][:30])
        assert NOTICE in (trained.folder / "model_card.md").read_text("utf-8")


def test_simulated_images_are_called_so_everywhere_and_others_are_not(simulated: Trained, folded: Trained) -> None:
    assert "they say nothing about real patients" in page(simulated)
    assert "simulated" not in page(folded)
    assert "simulated" in (simulated.folder / "model_card.md").read_text("utf-8").splitlines()[0]


def test_it_has_a_section_for_each_question_that_the_data_can_answer(simulated: Trained, folded: Trained) -> None:
    common = {
        "Against simple methods", "Sensitivity and specificity", "Can the probability be believed?", "What it leaves to humans",
        "Would it help?", "Where it looks", "Training",
    }  # fmt: skip
    for trained in (simulated, folded):
        assert common <= set(re.findall(r"<h2[^>]*>([^<]+)</h2>", page(trained)))
    assert "The masks" in page(simulated)
    assert "The masks" not in page(folded)


def test_no_case_and_no_path_is_named(folded: Trained) -> None:
    cases, _ = folded.fits[0]
    text = (
        page(folded) + (folded.folder / "model_card.md").read_text("utf-8") + (folded.folder / "metrics.json").read_text("utf-8")
    )
    assert "only few" in text
    assert not [case.name for case in cases.test.cases if case.name in text]
    assert not [case.patient for case in cases.test.cases if case.patient in text]
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page(folded), flags=re.DOTALL)
    assert folded.config.data.source not in text


def test_a_gallery_has_a_place_for_each_image() -> None:
    images = np.zeros((5, 16, 16), np.uint8)
    drawn = sections.gallery(images, list("abcde"), np.ones((5, 16, 16)), np.ones((5, 16, 16), bool))
    assert isinstance(drawn, Figure)
    assert [axis.get_title() for axis in drawn.axes if axis.images] == list("abcde")
