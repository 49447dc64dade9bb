"""Occlusion by differences on the networks that people use, beside the whole network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xaiwidgets as xai
from tests.oracle.nets import model, photo
from xaiwidgets.engine.incremental import Incremental
from xaiwidgets.engine.ways import Newest

# The least gain in multiply-adds that is planned for a patch of 16 pixels.
NETS = {
    "vgg16": 6,
    "resnet18": 2,
    "resnet50": 1.9,
    "densenet121": 1.9,
    "efficientnet_lite0": 1.5,
    "mobilenet_v3_large": 1.2,
    "convnext_tiny": 1,
}
PLACES = [(0, 0), (208, 208), (100, 37), (63, 150), (17, 90), (215, 3)]


@pytest.mark.parametrize("name", NETS)
def test_same_logits(name: str) -> None:
    net = model(name)
    x = net.prepare(photo()).input
    tops, lefts = np.array(PLACES).T
    filling = torch.zeros_like(x[0])
    with torch.inference_mode():
        network = Incremental(net.logits, x)
        plan = network.plan(tops, lefts, 16)
        clean = network.clean(plan, x)
        assert clean is not None
        ours = network.logits(plan, clean, x, filling, (tops, lefts, 16), 0, len(PLACES))
        batch = x.repeat(len(PLACES), 1, 1, 1)
        for image, (top, left) in zip(batch, PLACES, strict=True):
            image[:, top : top + 16, left : left + 16] = 0
        theirs = net.logits(batch)
        drops = theirs - net.logits(x)
    assert plan.ratio >= NETS[name]
    # Relative to what the patches change, not to the logits.
    assert float((ours - theirs).norm()) <= 1e-3 * float(drops.norm())


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_lite0"])
def test_same_logits_of_one_patch(name: str) -> None:
    net = model(name)
    x = net.prepare(photo()).input
    with torch.inference_mode():
        network = Incremental(net.logits, x)
        clean = network.clean(network.anywhere(16), x)
        assert clean is not None
        places = [*PLACES, (-9, 219), (-3, 60)]
        filling = torch.zeros_like(x[0])
        ours = [network.logits_at(clean, x, filling, 16, place) for place in places]
        batch = x.repeat(len(places), 1, 1, 1)
        for image, (top, left) in zip(batch, places, strict=True):
            image[:, max(top, 0) : top + 16, left : left + 16] = 0
        theirs = net.logits(batch)
        drops = theirs - net.logits(x)
    assert float((torch.cat(ours) - theirs).norm()) <= 1e-3 * float(drops.norm())


def test_vision_transformer_goes_the_plain_way() -> None:
    net = model("vit_b_16")
    found = xai.explain(net, photo(), "occlusion", patch_size=64, stride=64, progress=False)
    assert found.diagnostics["incremental"] == 0
    ways = net.once(("patches", False), Newest).of((1, 3, 224, 224))
    assert ways.traced
    assert ways.incremental is None


def test_explain_says_what_was_done() -> None:
    found = xai.explain(model("resnet18"), photo(), "occlusion", stride=32, progress=False)
    saved, share = (found.diagnostics[key] for key in ("multiply_adds_saved", "incremental"))
    # Which way was faster is the machine's business; what is said of it must fit together.
    assert (saved > 1.3 and 0 < share < 1) or (saved == 1 and share < 1)
    assert found.diagnostics["settled"] == 1
