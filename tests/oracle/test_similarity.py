"""Similarity of maps against scipy, scikit-image and plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from xaiwidgets.evaluation.similarity import TOP, measures, similarities, similarity


def _maps(count: int = 4, ties: bool = False) -> list[NDArray[np.float64]]:
    generator = np.random.default_rng(3)
    shared = generator.normal(size=(24, 30))
    found = [shared * weight + generator.normal(size=(24, 30)) for weight in range(count)]
    return [np.maximum(np.round(m, 1), 0) for m in found] if ties else found


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("absolute", [False, True])
def test_spearman(ties: bool, absolute: bool) -> None:
    from scipy.stats import spearmanr

    maps = _maps(ties=ties)
    measure = "spearman_magnitude" if absolute else "spearman"
    rows = np.stack([(np.abs(m) if absolute else m).ravel() for m in maps])
    expected = spearmanr(rows, axis=1).statistic
    np.testing.assert_allclose(similarity(maps, measure), expected, rtol=0, atol=1e-12)


def test_ssim() -> None:
    """Against the formula written out, window by window."""
    maps = [m / np.abs(m).max() for m in _maps(3)]
    found = similarity([5 * m for m in maps], "ssim")
    first, second = 0.02**2, 0.06**2
    for i, one in enumerate(maps):
        for j, other in enumerate(maps):
            values = []
            for y in range(24 - 6):
                for x in range(30 - 6):
                    a, b = one[y : y + 7, x : x + 7].ravel(), other[y : y + 7, x : x + 7].ravel()
                    both = np.cov(a, b)
                    above = (2 * a.mean() * b.mean() + first) * (2 * both[0, 1] + second)
                    below = (a.mean() ** 2 + b.mean() ** 2 + first) * (
                        both[0, 0] + both[1, 1] + second
                    )
                    values.append(above / below)
            assert found[i, j] == pytest.approx(np.mean(values), abs=1e-9)


def test_top_k_is_a_share_of_common_pixels() -> None:
    maps = _maps(3)
    count = round(TOP * maps[0].size)
    tops = [set(np.argsort(-m.ravel())[:count].tolist()) for m in maps]
    expected = [[len(a & b) / count for b in tops] for a in tops]
    np.testing.assert_allclose(similarity(maps, "top_k"), expected, rtol=0, atol=1e-12)


def test_top_k_of_ties() -> None:
    """Rectified maps agree where they are not zero, not where their zeros lie."""
    one, other = np.zeros((10, 10)), np.zeros((10, 10))
    one[0, :5], other[5, :5] = 1, 1
    # 10 of 100 count: 5 that are above, and 5 among 95 zeros. Of the other's 5 the zeros hold 5/95.
    expected = (2 * 5 * (5 / 95) + 90 * (5 / 95)) / 10
    assert similarity([one, other], "top_k")[0, 1] == pytest.approx(expected, abs=1e-12)
    assert similarity([one, one], "top_k")[0, 1] == pytest.approx(1)


def test_constant_maps_have_no_similarity() -> None:
    maps = [np.zeros((8, 8)), np.arange(64.0).reshape(8, 8)]
    for measure in ("spearman", "spearman_magnitude", "ssim"):
        found = similarity(maps, measure)
        assert np.isnan(found[0]).all()
        assert found[1, 1] == pytest.approx(1)


def test_other_sizes_are_averaged() -> None:
    large = np.kron(np.arange(16.0).reshape(4, 4), np.ones((2, 2)))
    found = similarity([large, np.arange(16.0).reshape(4, 4)], "spearman")
    np.testing.assert_allclose(found, 1)


def test_all_measures_step_by_step() -> None:
    steps = list(similarities(_maps(3)))
    assert len(steps) == 4
    for measure in measures():
        np.testing.assert_array_equal(steps[-1][measure], similarity(_maps(3), measure))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="spearman, spearman_magnitude, ssim, top_k"):
        similarity([np.ones((3, 3))], "pearson")
    with pytest.raises(ValueError, match=r"\(3,\)"):
        similarity([np.ones(3)])
    with pytest.raises(ValueError, match="finite"):
        similarity([np.full((3, 3), np.nan)])
