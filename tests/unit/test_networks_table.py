"""The table of all methods on all networks is whole, and is what is found when it is run again."""

from __future__ import annotations

import functools

import pytest

from benchmarks import networks
from xaiwidgets.methods import registry

# Quick ones, a network with attention among them.
AGAIN = ("resnet18", "mobilenet_v3_large", "swin_t")
METHODS = [spec.name for spec in registry.methods()]


@functools.cache
def cells() -> networks.Cells:
    return networks.read(networks.written())


def test_it_is_whole() -> None:
    assert set(cells()) == {(m, n) for m in [*METHODS, networks.LAYER] for n in networks.NETWORKS}
    reasons = {found for (row, _), found in cells().items() if row != networks.LAYER}
    for reason in reasons - {"works"}:
        # It says what is missing and what to do.
        assert len(reason) > 60
        assert "hoose" in reason


def test_every_network_of_the_list_is_there() -> None:
    titles = " ".join(network.title for network in networks.NETWORKS.values())
    wanted = ["EfficientNet-Lite0", "ResNet-18", "VGG-16", "GoogLeNet", "DenseNet-121"]
    wanted += ["MobileNetV3", "ConvNeXt-T", "ViT-B/16", "Swin-T", "Inception-v3", "FCN-ResNet50"]
    for name in wanted:
        assert name in titles


@pytest.mark.parametrize("name", AGAIN)
def test_a_part_of_it_again(name: str) -> None:
    networks.check_copies(name)
    assert networks.default_layer(name) == cells()[networks.LAYER, name]
    found = {method: networks.cell(name, method) for method in METHODS}
    assert found == {method: cells()[method, name] for method in METHODS}


def test_a_table_is_read_as_it_was_written() -> None:
    made = {
        ("saliency", "resnet18"): "works",
        ("saliency", "vgg16"): "This cannot be done. Choose another.",
        ("cam", "resnet18"): "zero map",
        ("cam", "vgg16"): "This cannot be done. Choose another.",
    }
    assert networks.read(networks.table(made, ["resnet18", "vgg16"], ["saliency", "cam"])) == made


def test_what_is_wrong_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a number is no reason to refuse."""

    def broken(*_: object) -> object:
        raise ValueError("Saliency gave values that are NaN or infinite after 1 evaluations")

    monkeypatch.setattr(networks, "estimates", broken)
    with pytest.raises(AssertionError, match="saliency on resnet18"):
        networks.cell("resnet18", "saliency")
