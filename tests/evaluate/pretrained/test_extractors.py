"""Weights given by path: what is refused, and that clips reach the network as a slow, obvious version says."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unspool.errors import UserError
from unspool.evaluate.pretrained.extractors import I3D, SIDE, VIDEOMAE, VJEPA, Golden, Network, open_extractor, to_clips
from unspool.evaluate.pretrained.video_transformers import Forward
from unspool.evaluate.pretrained.weights import Skipped, read_tensors, read_torchscript, sha256_of

# torch warns that TorchScript will go, and of the odd pickles that are made here.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:.*(pickle|TorchScript):UserWarning")

BLACK_WHITE = 4 * (0.5**2 + 0.25**2)  # of `Tiny`


class Tiny(torch.nn.Module):
    """Called as I3D is, first and last half of a clip apart: (B, 3, T, 224, 224) -> (B, 2)."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        if rescale or resize or not return_features:
            return x.new_full((x.shape[0], 2), 1e3)
        first, last = x[:, 0].mean((2, 3)).chunk(2, 1)
        return torch.stack([0.5 * first.mean(1), 0.25 * last.mean(1)], 1)


class Wrong(torch.nn.Module):
    """One figure for the whole batch."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        return x.mean()


def load(files: Sequence[Path], device: torch.device | str) -> Forward:
    network = read_torchscript(files[0], device)
    return lambda clips: network(clips, rescale=False, resize=False, return_features=True)


def tiny(value: float = BLACK_WHITE, **others: object) -> Network:
    golden = Golden(frames=12, size=64, value=value, within=1e-3)
    return replace(I3D, **{"name": "tiny", "load": load, "sha256": (), "golden": golden, **others})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(Tiny(), tmp_path_factory.mktemp("script") / "tiny.pt")


def saved(module: torch.nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def videos(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_the_golden_figure_and_hash_are_checked_and_told(script: Path) -> None:
    found = open_extractor(tiny(), script)
    assert found.sha256 == (sha256(script.read_bytes()).hexdigest(),) and found.verified.startswith("golden figure 1.25 ")
    known = open_extractor(tiny(sha256=(found.sha256[0][:12],), golden=None), script)
    assert known.verified == "published sha256"
    assert open_extractor(tiny(sha256=("0" * 64,), golden=None), script).verified == "not verified"


def test_a_network_with_another_figure_is_refused_with_both(script: Path) -> None:
    with pytest.raises(UserError, match=r"are 1\.25 apart, not 151\.256"):
        open_extractor(tiny(151.25648), script)
    with pytest.raises(UserError, match=r"not 151\.256"):
        open_extractor(I3D, script)


def test_features_are_those_of_each_clip_alone_in_order(script: Path) -> None:
    extractor = open_extractor(tiny(), script)
    windows = videos(7, 12, 1, 1).repeat(20, 2).repeat(20, 3)
    rows = extractor.features(windows)
    grey = windows[:, :, 0, 0, 0] / 127.5 - 1
    expected = np.stack([0.5 * grey[:, :6].mean(1), 0.25 * grey[:, 6:].mean(1)], 1)
    assert rows.shape == (7, 2) and np.abs(rows - expected).max() < 1e-6
    alone = np.concatenate([extractor.features(window[None]) for window in windows])
    assert np.abs(rows - alone).max() < 1e-6
    assert np.abs(extractor.features(windows[:, ::-1]) - rows).max() > 1e-3


def slowly(frame: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(H, W, 3) -> (side, side, 3): centres of pixels at half places, the edge held, no antialiasing."""
    high, wide = frame.shape[:2]
    made = np.empty((side, side, 3))
    for i in range(side):
        y = min(max((i + 0.5) * high / side - 0.5, 0), high - 1)
        top, down = int(y), min(int(y) + 1, high - 1)
        for j in range(side):
            x = min(max((j + 0.5) * wide / side - 0.5, 0), wide - 1)
            left, right = int(x), min(int(x) + 1, wide - 1)
            upper = frame[top, left] * (1 - (x - left)) + frame[top, right] * (x - left)
            lower = frame[down, left] * (1 - (x - left)) + frame[down, right] * (x - left)
            made[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return made


@pytest.mark.parametrize("one", [I3D, VIDEOMAE, VJEPA])
def test_clips_are_resized_and_normed_as_the_slow_version_says(one: Network) -> None:
    windows = videos(1, 2, 17, 30)
    clips = to_clips(windows, one).numpy()
    assert clips.shape == (1, 3, 2, SIDE, SIDE)
    expected = (slowly(windows[0, 1].astype(float)) / 255 - one.mean) / one.deviation
    assert np.abs(clips[0, :, 1] - expected.transpose(2, 0, 1)).max() < 1e-5


def test_large_pictures_are_not_antialiased() -> None:
    windows = np.zeros((1, 1, 448, 448, 3), np.uint8)
    windows[:, :, ::4] = 255  # rows 0 and 1 make row 0 of the half as large picture: black and white in equal parts
    column = to_clips(windows, I3D)[0, 0, 0, :, 0]
    assert column[::2].abs().max() < 1e-6 and (column[1::2] + 1).abs().max() < 1e-6


def test_ranges_of_i3d() -> None:
    ends = np.stack([np.zeros((10, 8, 8, 3), np.uint8), np.full((10, 8, 8, 3), 255, np.uint8)])
    clips = to_clips(ends, I3D)
    assert (clips[0] + 1).abs().max() < 1e-6 and (clips[1] - 1).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("windows", "says"),
    [
        (videos(2, 9, 8, 8), "takes clips of 10 to 4096 frames, not 9"),
        (videos(2, 12, 8, 8).astype(np.float32), "must be uint8"),
        (videos(12, 8, 8), "must be uint8"),
        (videos(0, 12, 8, 8), "cannot be judged"),
    ],
)
def test_other_clips_are_refused(script: Path, windows: np.ndarray, says: str) -> None:
    with pytest.raises(UserError, match=says):
        open_extractor(tiny(), script).features(windows)


def test_other_files_are_refused_in_one_line(tmp_path: Path, script: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        open_extractor(I3D, tmp_path / "absent.pt")
    with pytest.raises(UserError, match="is a folder; give the path of the file of weights"):
        open_extractor(I3D, tmp_path)
    with pytest.raises(UserError, match=r"vith16\.pth\.tar: no such file"):
        open_extractor(VJEPA, tmp_path)
    with pytest.raises(UserError, match="make \\(\\) of 2 clips"):
        open_extractor(tiny(), saved(Wrong(), tmp_path / "wrong.pt"))
    with pytest.raises(UserError, match="do not take"):
        open_extractor(tiny(), saved(torch.nn.ReLU(), tmp_path / "relu.pt"))
    for name, content in {"cut.pt": script.read_bytes()[:500], "text.pt": b"no weights"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="not a TorchScript file") as error:
            open_extractor(I3D, tmp_path / name)
        assert "\n" not in str(error.value)
    torch.save({"a": torch.ones(2)}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="not a TorchScript file"):
        open_extractor(I3D, tmp_path / "state.pt")
    with pytest.raises(UserError, match="no checkpoint of VideoMAE: it has no patch_embed"):
        open_extractor(VIDEOMAE, tmp_path / "state.pt")


class Payload:
    """What runs when it is unpickled without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


def test_pickles_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Payload()}, "zip.pth")
    torch.save({"a": Payload()}, "old.pth", _use_new_zipfile_serialization=False)
    Path("bare.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("zip.pth", "old.pth", "bare.pth", str(script)):
        with pytest.raises(UserError, match="damaged or holds a program"):
            read_tensors(Path(name))
    torch.save([1, 2], "list.pth")
    with pytest.raises(UserError, match="holds a list, not a state dict"):
        read_tensors(Path("list.pth"))
    assert not Path("ran").exists()
    torch.load("zip.pth", weights_only=False)  # the payload does run where one is careless
    assert Path("ran").exists()


def test_tensors_are_read_from_all_formats(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0)}
    torch.save({"module": tensors, "epoch": 3}, tmp_path / "zip.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "a.safetensors")
    assert read_tensors(tmp_path / "zip.pth")["module"]["a"].tolist() == [0, 1, 2]
    assert read_tensors(tmp_path / "old.pth")["a"].tolist() == read_tensors(tmp_path / "a.safetensors")["a"].tolist()
    with pytest.raises(UserError, match="empty"):
        (tmp_path / "empty").touch()
        sha256_of(tmp_path / "empty")


def test_what_is_printed_where_weights_are_missing() -> None:
    assert str(Skipped()) == "skipped: no weights"
