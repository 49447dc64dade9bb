"""Every method by its name.

A method is one function ``name(task, *, parameters...) -> Iterator[Estimate]`` under ``@method``.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xaiwidgets.methods.estimate import Estimate
from xaiwidgets.methods.params import Parameter, read_parameters

Function = Callable[..., Iterator[Estimate]]

# The order here is the order of `xai.methods()`.
_MODULES = (
    "saliency",
    "input_x_gradient",
    "guided_backprop",
    "deconvnet",
    "rectgrad",
    "lrp",
    "deeplift",
    "integrated_gradients",
    "idgi",
    "blur_ig",
    "guided_ig",
    "xrai",
    "smoothgrad",
    "expected_gradients",
    "layer_ixg",
    "cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "xgrad_cam",
    "layer_cam",
    "score_cam",
    "ablation_cam",
    "eigen_cam",
    "guided_grad_cam",
    "occlusion",
    "rise",
    "lime",
    "kernel_shap",
    "vit_cx",
    "meaningful_perturbation",
    "extremal_perturbation",
    "phang_mask",
    "perceptual_ball",
)
_known: dict[str, MethodSpec] = {}
TARGETS = {
    "class": "one class",
    "classes": "a list of classes",
    "difference": "a difference of classes",
    "output": "a region or a callable",
}
"""Kinds of targets, see `targets.kind_of`, and what they are called."""


@dataclass(frozen=True)
class MethodSpec:
    """All that is known of a method.

    Attributes:
        name: as `xai.explain` takes it.
        title: as people read it.
        family: "gradient", "path", "perturbation", ...
        paper: authors, title, year.
        url: of the paper.
        needs: what it asks of the model.
        parameters: by name, in order.
        widget: name of its widget class.
        function: the method itself.
        shares: what it takes of a pass that other methods can take too: "input" (the gradient
            there), "layer" (the last layer, or that of its parameter), "blocks", "head",
            "rectifiers".
        targets: kinds of targets that it is defined for.
    """

    name: str
    title: str
    family: str
    paper: str
    url: str
    needs: str
    parameters: dict[str, Parameter]
    function: Function
    widget: str
    targets: tuple[str, ...] = tuple(TARGETS)
    shares: tuple[str, ...] = ()

    @property
    def uses_gradients(self) -> bool:
        """Whether it needs gradients of the network."""
        return self.needs.startswith("gradients")

    def check_target(self, kind: str) -> None:
        """Raise a ValueError for a kind of target that the method is not defined for."""
        if kind not in self.targets:
            allowed = " or ".join(TARGETS[each] for each in self.targets)
            raise ValueError(
                f"{self.title} is defined for {allowed}, not for {TARGETS[kind]}. Choose another "
                "target, or another method; gradients, class activation maps, occlusion and RISE "
                "take any target."
            )

    def __repr__(self) -> str:
        parameters = ", ".join(f"{p.name}={p.default!r}" for p in self.parameters.values())
        return f"{self.name}({parameters})  {self.family}; needs {self.needs}; {self.paper}"


def method(
    *,
    title: str,
    family: str,
    paper: str,
    url: str,
    needs: str,
    widget: str = "",
    targets: tuple[str, ...] = tuple(TARGETS),
    shares: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Register the function below as the method of its name.

    Its widget class is called as the title is, "Grad-CAM++" `GradCAMPlusPlus`, or `widget`.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        _known[name] = MethodSpec(
            *(name, title, family, paper, url, needs, read_parameters(function), function),
            widget or _camel(title),
            targets,
            shares,
        )
        return function

    return register


def _camel(title: str) -> str:
    words = re.findall("[A-Za-z0-9]+", title.replace("+", " Plus "))
    return "".join(word[0].upper() + word[1:] for word in words)


def methods() -> list[MethodSpec]:
    """Every method: name, family, paper, parameters, and what it needs of the model."""
    for module in _MODULES:
        importlib.import_module(f"xaiwidgets.methods.{module}")
    return [_known[name] for name in _MODULES]


def get(name: Any) -> MethodSpec:
    """The method called `name`.

    Raises:
        TypeError: when `name` is not text.
        ValueError: when there is none of that name; the nearest ones are listed.
    """
    if not isinstance(name, str):
        raise TypeError(f"A method is given by its name, not by {type(name).__name__}.")
    known = {spec.name: spec for spec in methods()}
    wanted = name.strip().lower().replace("-", "_").replace(" ", "_")
    if wanted in known:
        return known[wanted]
    close = difflib.get_close_matches(wanted, known, 3, 0.4)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(f'There is no method "{name}".{hint} Methods: {", ".join(known)}.')
