"""The number of a class that a method follows: its probability, or its logit."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from xaiwidgets.engine.gradients import Score
from xaiwidgets.methods.params import Choice

ScoreKind = Annotated[
    str,
    Choice(("probability", "logit"), "Score", help="Of the class: what is explained."),
]
"""The parameter `score` of a method that only reads outputs."""


def scored(logits: Tensor, score: Score, kind: str) -> Tensor:
    """The score of each row of logits `(N, K)`, `(N,)`, float64.

    Args:
        logits: of all classes.
        score: picks one number of each row, such as `task.score`.
        kind: "probability" lets it pick from the probabilities, "logit" from the logits.
    """
    logits = logits.double()
    return score(logits.softmax(-1) if kind == "probability" else logits)
