"""RectGrad: only the units that matter most send anything back.

On its way back through a ReLU with activation a, what arrives is let through where the unit's
importance, a times it, is above a threshold:

    R_in = 1[a * R_out > tau] * R_out,    tau = q-th percentile of a * R_out in that layer

and the attribution is x * R(x). Kim, Seo, Jeon, Koo, Choe, Jeon, "Why are Saliency Maps Noisy?
Cause of and Solution to Noisy Saliency Maps", 2019 (arXiv 1902.04893), eq. 3. The percentile is the
nearest rank, as in the authors' program. For smooth and leaky rectifiers
f the right side gains a factor f'(z); a ReLU's is taken as 1, as in the paper.

Two techniques of the paper's appendix, off by default:

- Proportional redistribution (PRR): a max-pooling gives R_out to all of its window in proportion to
  their activations, in place of all to the maximum.
- Padding trick: what arrives at the outermost ring of a padded convolution's output is dropped,
  as zero padding makes the edges of a photo look important.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.operators import Call
from xaiwidgets.engine.rectifiers import Rectifier, rectified
from xaiwidgets.engine.rules import Handler, Rules, ruled
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.params import Flag, Range
from xaiwidgets.methods.registry import method


@method(
    title="RectGrad",
    family="backward rule",
    paper="Kim et al.: Why are Saliency Maps Noisy? (2019)",
    url="https://arxiv.org/abs/1902.04893",
    needs="gradients, ReLU or a relative",
)
def rectgrad(
    task: Task,
    *,
    q: Annotated[
        float,
        Range(0, 100, 0.5, "Percentile", help="Share of each layer's units that is switched off."),
    ] = 98.0,
    redistribute: Annotated[
        bool,
        Flag("Redistribute", help="Max-pooling shares among its window (PRR)."),
    ] = False,
    padding_trick: Annotated[
        bool,
        Flag("Padding trick", help="Drop what arrives at the edge of padded convolutions."),
    ] = False,
) -> Iterator[Estimate]:
    """RectGrad times input, `(C, H, W)`, in logits.

    Diagnostics and errors are those of guided backprop.
    """

    def gate(unit: Rectifier, arriving: Tensor) -> Tensor:
        importance = unit.output * arriving
        passed = torch.where(importance > percentile(importance, q), arriving, 0)
        return passed if unit.hard else passed * unit.slope

    more: dict[str, Handler] = {}
    if redistribute:
        more |= dict.fromkeys(_SUM_POOLS, _redistributed)
    if padding_trick:
        more |= dict.fromkeys(("conv1d", "conv2d", "conv3d"), _without_edges)
    found, acted = rectified(
        task.model, task.x, task.score, gate, "RectGrad", exact=task.exact, more=more
    )
    value = (found * task.x)[0].contiguous().cpu()
    yield Estimate(value, 1, 1, acted.diagnostics(), acted)


def percentile(values: Tensor, q: float) -> Tensor:
    """The `q`-th percentile of all values, nearest rank.

    There is one photo in a run, so all of a layer is its own, also where the network folds
    windows into the batch.
    """
    return values.flatten().kthvalue(round(q / 100 * (values.numel() - 1)) + 1).values


_SUM_POOLS: dict[str, Callable[..., Tensor]] = {
    "max_pool1d": functional.avg_pool1d,
    "max_pool2d": functional.avg_pool2d,
    "max_pool3d": functional.avg_pool3d,
}


def _redistributed(rules: Rules, call: Call) -> Any:
    """Max-pooling, on its way back shared in proportion to the activations."""
    if call.get("dilation", 1) not in (1, (1, 1), [1, 1]):
        raise ValueError("RectGrad cannot redistribute in a dilated max-pooling: turn it off.")
    if call.get("return_indices", False):
        raise ValueError("RectGrad cannot redistribute in a max-pooling that gives its indices.")
    size = call.args["kernel_size"]
    window = {
        "kernel_size": size,
        "stride": call.get("stride") or size,
        "padding": call.get("padding", 0),
        "ceil_mode": call.get("ceil_mode", False),
    }

    def forward(x: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
        kept = rules.keep(x)

        def pull(arriving: Tensor) -> tuple[Tensor]:
            # Padding counts as 0; so does what is negative, which no ReLU would have let through.
            share = kept.get().clamp(min=0)
            with torch.enable_grad():
                leaf = share.detach().requires_grad_(True)
                total = _SUM_POOLS[call.name](leaf, **window)
                scaled = torch.where(total > 0, arriving / total.detach(), 0)
                (spread,) = torch.autograd.grad(total, leaf, scaled)
            return (share * spread,)

        return call.apply(x), pull

    return ruled(forward, call.input)


def _without_edges(rules: Rules, call: Call) -> Any:
    """A convolution, with nothing sent back from the edge of its padded output."""
    output = call.apply(call.input)
    if not any(_sides(call.get("padding", 0))):
        return output

    def forward(y: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
        def pull(arriving: Tensor) -> tuple[Tensor]:
            inner = torch.zeros_like(arriving)
            middle = (slice(None), slice(None), *[slice(1, -1)] * (arriving.ndim - 2))
            inner[middle] = arriving[middle]
            return (inner,)

        return y.clone(), pull

    return ruled(forward, output)


def _sides(padding: Any) -> tuple[int, ...]:
    if isinstance(padding, str):
        return (int(padding == "same"),)
    return (padding,) if isinstance(padding, int) else tuple(padding)
