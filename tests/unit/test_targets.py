"""Classes by index and by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xaiwidgets.samples import imagenet_categories
from xaiwidgets.targets import nearest, resolve

NAMES = imagenet_categories()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (0, 0),
        (999, 999),
        (np.int64(7), 7),
        (np.array(7), 7),
        (torch.tensor(7), 7),
        ("tabby", 281),
        ("Egyptian cat", 285),
        ("egyptian CAT ", 285),
        # Exact spelling tells the dog from the garment.
        ("Cardigan", NAMES.index("Cardigan")),
        ("cardigan", NAMES.index("cardigan")),
    ],
)
def test_found(target: Any, expected: int) -> None:
    found = resolve(target, 1000, NAMES)
    assert found == expected
    assert type(found) is int


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (1000, ["1000 is out of range", "0 to 999"]),
        (-1, ["-1 is out of range", "0 to 999"]),
        ("CARDIGAN", ["264 ('Cardigan')", "474 ('cardigan')"]),
        ("egyptian kat", ["no class 'egyptian kat'", "'Egyptian cat' (285)"]),
        ("retriever", ["'golden retriever' (207)"]),
        ("zzzzqqqq", ["no class 'zzzzqqqq'"]),
        ("", ["no class ''"]),
    ],
)
def test_refused(target: Any, parts: list[str]) -> None:
    with pytest.raises(ValueError) as raised:
        resolve(target, 1000, NAMES)
    for part in parts:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    "target",
    [True, np.True_, 1.0, float("nan"), np.float32(3), torch.tensor(True), [1], torch.tensor([1])],
)
def test_wrong_type(target: Any) -> None:
    with pytest.raises(TypeError, match=r"index \(a whole number\) or its name"):
        resolve(target, 1000, NAMES)


def test_no_names_known() -> None:
    with pytest.raises(ValueError, match=r"no class names.*'cat'.*categories="):
        resolve("cat", 10, None)


def test_a_name_of_two_classes() -> None:
    # As in lists of ImageNet's names that do not tell the bird from the machine.
    names = ["hen", "crane", "boat", "crane"]
    with pytest.raises(ValueError, match=r"'crane' stands for 2 classes: 1 .*, 3 .*index"):
        resolve("crane", 4, names)


def test_nearest_are_few_and_sorted() -> None:
    assert nearest("tiger cta", NAMES)[0] == "tiger cat"
    assert len(nearest("dog", NAMES)) <= 5
