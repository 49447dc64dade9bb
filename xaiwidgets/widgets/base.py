"""What all widgets share: a photo, parameters that are traits, a result that is state."""

from __future__ import annotations

import base64
import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import traitlets as t

from xaiwidgets.images import read_image
from xaiwidgets.methods.params import Parameter, check_all, unknown_name
from xaiwidgets.model import Model
from xaiwidgets.targets import Target
from xaiwidgets.widgets import colormaps, front_end
from xaiwidgets.widgets.encode import plain
from xaiwidgets.widgets.running import RunningWidget, log
from xaiwidgets.widgets.sync import shortened
from xaiwidgets.widgets.traits import ImageTrait, TargetTrait, declare

_LARGEST_FILE = 200 << 20


class PanelWidget(RunningWidget):
    """A panel in the page, its result as state, and a picture for where it cannot be live."""

    _esm = front_end.script()
    _css = front_end.styles()

    _kind_name: ClassVar[str] = ""
    """The kind of panel that the page makes of it."""

    _id = t.Unicode("").tag(sync=True)
    _kind = t.Unicode("").tag(sync=True)
    _title = t.Unicode("").tag(sync=True)
    _paper = t.Dict().tag(sync=True)
    _colormaps = t.Dict().tag(sync=True)
    _result = t.Bytes(b"").tag(sync=True)
    _result_info = t.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        tables = colormaps.tables()
        super().__init__(_id=uuid.uuid4().hex, _kind=self._kind_name, _colormaps=tables, **traits)

    def _still(self) -> bytes:
        """The result as a PNG."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if not isinstance(bundle, tuple):
            return bundle
        # A notebook that is not trusted shows this picture instead of the live widget.
        data, metadata = bundle
        try:
            data = {**data, "image/png": base64.b64encode(self._still()).decode("ascii")}
        except Exception:
            log.exception("The still picture could not be made.")
        return data, metadata


class ExplanationWidget(PanelWidget):
    """A photo, parameters that are traits, and a job that keeps the result up to date.

    Attributes:
        image: the photo; anything that an image can be given as. Setting it runs again.
        target: class; index, name or None (the top one) in, index out; or any other target of
            `xai.explain`.
        status: "idle", "running" or "error".
        progress: 0 to 1.
        error: what went wrong, in short.
    """

    _parameters: ClassVar[dict[str, Parameter]] = {}
    """Parameters a change of which asks for a new result."""
    _local: ClassVar[dict[str, Parameter]] = {}
    """Parameters of the view alone."""

    _photo = t.Bytes(b"").tag(sync=True)
    _photo_name = t.Unicode("").tag(sync=True)
    _categories: t.List[Any] = t.List().tag(sync=True)
    _top: t.List[Any] = t.List().tag(sync=True)
    _target_info = t.Dict().tag(sync=True)
    _params: t.List[Any] = t.List().tag(sync=True)
    _extra = t.Bytes(b"").tag(sync=True)
    _extra_info = t.Dict().tag(sync=True)

    image = ImageTrait()
    target = TargetTrait().tag(sync=True)

    def __init_subclass__(
        cls,
        *,
        parameters: Mapping[str, Parameter] | None = None,
        local: Mapping[str, Parameter] | None = None,
        writable: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        """Make a trait of each parameter, and let the page write those and `writable`."""
        super().__init_subclass__(**kwargs)
        if parameters is None:
            return
        cls._parameters, cls._local = dict(parameters), dict(local or {})
        declare(cls, {**cls._parameters, **cls._local})
        cls._request_traits = tuple(cls._parameters)
        cls._writable = frozenset({*cls._parameters, *cls._local, *writable, "_cancel", "_visible"})

    def __init__(self, model: Model, image: Any, given: dict[str, Any], **traits: Any) -> None:
        if not isinstance(model, Model):
            raise TypeError(
                f"The first argument must be an xaiwidgets.Model, not {type(model).__name__}. "
                "Wrap a network with xai.Model(net), or take one from xai.load()."
            )
        for name in ("layout", "tooltip"):
            if name in given:
                traits[name] = given.pop(name)
        known = {**self._parameters, **self._local}
        for name in given:
            if name not in known:
                raise unknown_name(type(self).__name__, name, known)
        self._model = model
        self._quiet = True
        self._last: Any = None
        self._incoming: tuple[bytes, str] | None = None
        checked = check_all(type(self).__name__, known, given)
        begin = self._begin(image, checked)
        super().__init__(
            _params=[plain(parameter.to_dict()) for parameter in self._parameters.values()],
            **checked,
            **begin,
            **traits,
        )
        self._trait_values["image"] = image
        self._quiet = False
        self.observe(self._on_change, [*self._parameters, "target", "image"])
        self._start()

    # --- what a kind of widget defines

    def _begin(self, image: Any, params: dict[str, Any]) -> dict[str, Any]:
        """Take the first photo, and give the traits that follow; what cannot work is raised."""
        raise NotImplementedError

    def _read(self, image: Any) -> Any:
        """Prepare a photo, or raise."""
        raise NotImplementedError

    def _adopt(self, photo: Any, name: str) -> None:
        """Show a prepared photo from now on, and set the traits that follow from it."""
        raise NotImplementedError

    def _resolve_target(self, value: Any) -> Target:
        """The target that `value` stands for, or raise."""
        raise NotImplementedError

    def _told(self) -> list[str]:
        """What `repr` says beside the parameters."""
        return []

    def _still(self) -> bytes:
        """The result as a PNG."""
        return self._photo

    # --- for the user

    @property
    def model(self) -> Model:
        """The model that is explained."""
        return self._model

    @property
    def result(self) -> Any:
        """The last finished result, None before the first. After `wait()`: of the last change."""
        return self._last

    def __repr__(self) -> str:
        if "_last" not in self.__dict__:
            return object.__repr__(self)
        told = [self._model.name or "model", *self._told()]
        for name, parameter in {**self._local, **self._parameters}.items():
            value = plain(getattr(self, name))
            if parameter.kind in ("float", "int") or value != parameter.default:
                told.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join([*told, self.status])})"

    # --- changes

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Write traits without asking for a new result."""
        with self._lock:
            before, self._quiet = self._quiet, True
            try:
                yield
            finally:
                self._quiet = before

    def _on_change(self, change: Any) -> None:
        if not self._quiet:
            self._ask()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "image":
            self._take_image(value)
        else:
            super().__setattr__(name, value)

    def _put_image(self, image: Any) -> None:
        """Tell observers of a photo that is shown already."""
        old, self._trait_values["image"] = self._trait_values.get("image"), image
        self._notify_trait("image", old, image)

    def _take_image(self, image: Any) -> None:
        """Take a photo from Python; raise and keep the old one if it cannot be used."""
        # Before the lock, for which all widgets wait: this runs the network.
        photo = self._read(image)
        with self._lock:
            with self._quietly():
                self._adopt(photo, name_of(image))
            self._put_image(image)

    def _take_message(self, kind: str, content: dict[str, Any], buffers: list[Any]) -> None:
        if kind != "photo":
            super()._take_message(kind, content, buffers)
            return
        if not buffers or not len(buffers[0]):
            raise ValueError("The page sent a photo without content.")
        if len(buffers[0]) > _LARGEST_FILE:
            raise ValueError("The file is larger than 200 MB. Make the photo smaller.")
        # Reading it may take long, so the job does; it waits here for whichever job comes next.
        self._incoming = (bytes(buffers[0]), shortened(str(content.get("name") or ""), 80))
        self._post()

    def _take_incoming(self) -> None:
        """Take a photo that the page sent; a bad one is told of, and the old one stays."""
        with self._lock:
            incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        content, name = incoming
        try:
            image = read_image(content)
            photo = self._read(image)
            with self._quietly():
                # Refuses a photo that a target which Python set does not fit.
                self._adopt(photo, name)
        except (TypeError, ValueError, OSError) as error:
            log.info("A photo that the page sent was refused.", exc_info=True)
            self._complain(str(error))
            return
        with self._quietly():
            self._put_image(image)


def name_of(image: Any) -> str:
    """The name of a photo that is given as a file."""
    return Path(image).name if isinstance(image, str | os.PathLike) else ""
