"""A widget that looks at a layer, and perhaps at one channel of it."""

from __future__ import annotations

import operator
from typing import Any

import traitlets as t

from xaiwidgets.inside.dream import default_layer
from xaiwidgets.model import Model
from xaiwidgets.widgets.base import ExplanationWidget
from xaiwidgets.widgets.encode import plain


def told_layers(model: Model) -> list[dict[str, Any]]:
    """All layers of a network, for the page."""
    layers = [each for each in model.layers() if each.name]
    top = min((each.depth for each in layers), default=0)
    return [
        {
            "name": each.name,
            "type": each.type,
            "depth": each.depth - top,
            "shape": plain(each.output_shape),
            "cost": plain(each.cost_share),
        }
        for each in layers
    ]


class LayerTrait(t.TraitType[str, Any]):
    """Name of a layer; None in, the default layer out."""

    default_value = ""

    def validate(self, obj: Any, value: Any) -> str:
        """Find the layer in the widget's model."""
        widget: LayeredWidget = obj
        return widget._resolve_layer(value)


class ChannelTrait(t.TraitType[Any, Any]):
    """A channel of the layer, or None for all."""

    default_value = None
    allow_none = True

    def validate(self, obj: Any, value: Any) -> int | None:
        """Check against the widget's layer."""
        widget: LayeredWidget = obj
        return widget._check_channel(value, widget.layer)


class LayeredWidget(ExplanationWidget):
    """Adds `layer` and `channel`, and tells the page of all layers."""

    layer = LayerTrait().tag(sync=True)
    channel = ChannelTrait().tag(sync=True)
    _layers: t.List[Any] = t.List().tag(sync=True)

    def _find_layer(self, layer: Any, channel: Any) -> dict[str, Any]:
        """The traits for a layer and a channel, or raise."""
        self._shapes = {each.name: each.output_shape for each in self._model.layers() if each.name}
        name = self._resolve_layer(layer)
        return {
            "layer": name,
            "channel": self._check_channel(channel, name),
            "_layers": told_layers(self._model),
        }

    def _start(self) -> None:
        self.observe(self._on_layer, "layer")
        self.observe(self._on_change, ["layer", "channel"])
        super()._start()

    def _on_layer(self, change: Any) -> None:
        channels = self._channels_of(change["new"])
        if self.channel is not None and channels is not None and self.channel >= channels:
            with self._quietly():
                self.channel = None

    def _resolve_layer(self, value: Any) -> str:
        if value is None:
            return default_layer(self._model)
        if not isinstance(value, str):
            raise TypeError(f"layer must be the name of a layer, not {value!r}.")
        if value not in self._shapes:
            self._model.layer(value)  # raises, and lists the nearest names
        if self._shapes.get(value) is None:
            raise ValueError(
                f'Layer "{value}" gives no tensor in a forward pass. Choose another one of '
                "model.layers()."
            )
        return value

    def _channels_of(self, layer: str) -> int | None:
        """How many channels a layer has; None when that is not known."""
        shape = self._shapes[layer]
        if shape is None or len(shape) < 2:
            return None
        # Tokens (batch, tokens, channels) carry their channels last, everything else second.
        return int(shape[2] if len(shape) == 3 else shape[1])

    def _check_channel(self, value: Any, layer: str) -> int | None:
        if value is None:
            return None
        channels = self._channels_of(layer)
        allowed = f"a whole number from 0 to {channels - 1}" if channels else "a whole number"
        text = f'channel of layer "{layer}" must be {allowed}, or None for all, not {value!r}.'
        if isinstance(value, bool):
            raise TypeError(text)
        try:
            index = operator.index(value)
        except TypeError:
            raise TypeError(text) from None
        if index < 0 or (channels is not None and index >= channels):
            raise ValueError(text)
        return index

    def _sift(self, sync_data: dict[str, Any], problems: dict[str, str]) -> dict[str, Any]:
        # A channel is one of the layer that comes with it, so the layer is set first.
        accepted = super()._sift(sync_data, problems)
        return dict(sorted(accepted.items(), key=lambda item: item[0] == "channel"))

    def _check_from_page(self, name: str, value: Any) -> Any:
        return value if name == "channel" else super()._check_from_page(name, value)
