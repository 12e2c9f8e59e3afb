"""`unspool claims`: a rehearsal from the command line, the table, and that docs/claims.md is up to date."""

from __future__ import annotations

import json

import pytest
import yaml

from unspool.cli import main

CLAIM = {
    "system": "ours", "claim": "Own frames help.", "source": "nobody", "mark": "own",
    "experiment": {
        "data": "duel:fighters=1",
        "settings": {"recipe": "chunk-by-chunk", "size": "nano", "resolution": 32, "patch": 16, "frames": 4, "steps": 1,
                     "train": {"batch": 2}},
        "arms": {"one": {"chunk": 1}, "two": {"chunk": 2}},
        "flops": 1e15, "seeds": 2,
        "evaluate": {"frames": 8, "contexts": 2, "futures": 1, "real": 3, "segment": 8},
        "measure": "colour", "better": "one", "smallest": 1,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def claim(tmp_path_factory):
    path = tmp_path_factory.mktemp("claims") / "tiny.yaml"
    path.write_text(yaml.safe_dump(CLAIM))
    return path


def measured(what, report):
    """As if all had been measured: tests/test_claims.py does it in earnest."""
    figures = {arm.name: {name: {"value": len(arm.name) + 1} for name in ("colour", "motion")} for arm in what.arms}
    figures["one-0"]["colour"]["value"] = 4
    report(1, 1, "one-0")
    return {"table": figures, "protocol": {}, "data": {}, "notes": []}


def test_a_rehearsal_leaves_its_result_in_its_own_folder(claim, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("unspool.evaluation.run", measured)
    monkeypatch.setattr("sys.argv", ["unspool", "claims", "run"])
    assert main(["claims", "run", str(claim), "--flops", "3e8", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "colour shift                    +1 (-11.7 to 13.7) of 255; 1 counts" in out
    assert "verdict: undecided (a rehearsal, which says nothing of the claim)" in out
    told = json.loads((tmp_path / "out" / "rehearsal.json").read_text())
    assert told["rehearsal"] and told["made"]["command"].startswith("unspool claims run")
    assert not (claim.parent / "results").exists()


def test_the_table_is_written_checked_and_told_as_json(unspool, claim, tmp_path):
    words = ("claims", "table", "--claims", claim.parent, "--page", tmp_path / "page.md")
    assert (done := unspool(*words, "--check")).code == 2 and "unspool claims table" in done.err
    done = unspool(*words, "--json")
    (row,) = json.loads(done.out)
    assert row["name"] == "tiny" and row["verdict"] == "not run: nobody has run it yet" and row["result"] is None
    assert unspool(*words, "--check").code == 0
    (tmp_path / "page.md").write_text("other")
    assert unspool(*words, "--check").code == 2 and (tmp_path / "page.md").read_text() == "other"


def test_our_page_is_up_to_date(unspool):
    done = unspool("claims", "table", "--check")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "recursive-alfa", "--out", "x"), "did you mean 'recursive-alpha'"),
        (("run", "card", "--out", "x"), "cannot run yet"),
        (("run", "recursive-alpha", "--out", "x", "--flops", "-1"), "above 0"), (("tabel",), "did you mean 'table'"),
        (("run", "missing.yaml", "--out", "x"), "does not exist"), (("table", "--claims", "nowhere"), "holds no claim files"),
    ],
)  # fmt: skip
def test_what_the_user_can_mend_is_one_line(unspool, tmp_path, words, says):
    done = unspool("claims", *words, cwd=tmp_path)
    assert done.code == 2 and says in done.err and len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
