"""Our Frechet distance beside that of a published FVD implementation, cd-fvd (Ge et al. 2404.12391), on the same features.

    pip install --no-deps cd-fvd==0.1.1 && pip install scipy tqdm requests
    python bench/fvd_peer.py

Its networks and readers of files are left out, as nothing but the distance is asked. Features are drawn: correlated, of I3D's
width, as many as figures in papers have and fewer; no weights, nothing downloaded. That implementation divides covariances by N
and ours by N - 1 (as MCVD and FAR do), so theirs is told both ways.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from unspool.evaluate.pretrained.protocols import fvd

WIDTH = 400
UNUSED = {
    "cdfvd.utils.data_utils": ("get_dataloader", "VID_EXTENSIONS"),
    "cdfvd.third_party.VideoMAEv2.utils": ("load_videomae_model", "preprocess_videomae"),
    "cdfvd.third_party.i3d.utils": ("load_i3d_model", "preprocess_i3d"),
}


def main() -> None:
    sys.modules.update({name: cast(Any, SimpleNamespace(**dict.fromkeys(of))) for name, of in UNUSED.items()})
    from cdfvd.fvd import cdfvd
    from cdfvd.utils.metric_utils import FeatureStats

    class Unbiased(FeatureStats):
        def get_mean_cov(self) -> tuple[np.ndarray, np.ndarray]:
            mean, covariance = super().get_mean_cov()
            return mean, covariance * self.num_items / (self.num_items - 1)

    theirs = object.__new__(cdfvd)  # its constructor downloads a network; the distance needs none
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)
    for count in (500, 2048):
        drawn = ((rng.normal(size=(count, WIDTH)) @ (mix * scale) + shift) for scale, shift in ((1, 0), (1.2, 0.1)))
        sides = [rows.astype(np.float32) for rows in drawn]
        found = []
        for kind in (FeatureStats, Unbiased):
            stats = [kind(capture_mean_cov=True) for _ in sides]
            for one, rows in zip(stats, sides, strict=True):
                one.append(rows)
            found.append(float(theirs.compute_fvd_from_stats(*stats)))
        ours = float(fvd(sides[0][:, None], sides[1][:, None])[0])
        apart = abs(ours / found[1] - 1)
        print(f"N = {count}: ours {ours:.6f}, theirs {found[1]:.6f}, apart by {apart:.1e}; divided by N {found[0]:.6f}")


if __name__ == "__main__":
    main()
