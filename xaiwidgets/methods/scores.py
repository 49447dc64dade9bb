"""The number of a target that a method follows: its probability, or its logit."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from xaiwidgets.engine.gradients import Score
from xaiwidgets.goals import OutputGoal
from xaiwidgets.methods.params import Choice

ScoreKind = Annotated[
    str,
    Choice(("probability", "logit"), "Score", help="Of the target: what is explained."),
]
"""The parameter `score` of a method that only reads outputs."""


def scored(logits: Tensor, score: Score, kind: str) -> Tensor:
    """The score of each row of logits `(N, K)`, `(N,)`, float64.

    Args:
        logits: of all classes.
        score: picks one number of each row, such as `task.score`.
        kind: "probability" lets it pick from the probabilities, "logit" from the logits.

    Raises:
        ValueError: for the probability of the only class.
    """
    logits = logits.double()
    return probability(logits, score) if kind == "probability" else score(logits)


def probability(logits: Tensor, score: Score) -> Tensor:
    """The probability of each row of logits `(N, K)`, `(N,)`.

    Raises:
        ValueError: for the probability of the only class.
    """
    if isinstance(score, OutputGoal):
        return score.probability(logits)
    check_classes(logits)
    return score(logits.softmax(-1))


def check_classes(logits: Tensor) -> None:
    """Raise a ValueError for a network with one class: there its probability tells nothing."""
    if logits.shape[-1] == 1:
        raise ValueError(
            "The network has one class, whose softmax is always 1, so its probability cannot be "
            'explained. Take score="logit".'
        )
