"""A closed widget leaves nothing behind."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import xaiwidgets as xai
from tests.unit.widgets.conftest import CLASSES, PATIENCE, Toy
from xaiwidgets.model import Model


@pytest.mark.parametrize(
    "make",
    [
        lambda model, photo: xai.Saliency(model, photo),
        lambda model, photo: xai.IntegratedGradients(model, photo, steps=4),
        lambda model, photo: xai.Occlusion(model, photo, patch_size=8, stride=8),
        lambda model, photo: xai.DeepDream(model, photo, "features.0", iterations=2, octaves=1),
        lambda model, photo: xai.Compare(model, photo, ["saliency", "grad_cam"]),
    ],
    ids=["saliency", "integrated_gradients", "occlusion", "deep_dream", "compare"],
)
def test_closed_widget_and_its_network_are_collected(
    photo: Any, page: Any, make: Callable[[Model, Any], Any]
) -> None:
    model = Model(Toy(), {"size": (24, 20)}, CLASSES, "cpu")
    widget = make(model, photo)
    page.join(widget)
    widget.wait(PATIENCE)
    widget.close()
    page.acknowledges = None
    left = weakref.ref(widget), weakref.ref(model)
    del widget, model
    gc.collect()
    assert [each() for each in left] == [None, None]
