"""references/export_matrix.py: rows that are kept, and those that are made again."""

from dataclasses import replace
from pathlib import Path

import pytest

from detzoo.engine.card_kinds import ExportRow
from detzoo.engine.cards import read_card, write_card

REFERENCES = Path(__file__).parents[2] / "references"
ARGUMENTS = ["--models", "tiny_ssd", "--to", "torch-export", "--levels", "raw"]


@pytest.fixture
def export_matrix(monkeypatch):
    monkeypatch.syspath_prepend(str(REFERENCES))
    import export_matrix

    return export_matrix


@pytest.fixture
def exports(export_matrix, monkeypatch):
    """What is exported, without the work."""
    made = []

    def attempt(model, name, to, level, precision):
        made.append((name, to, level))
        return ExportRow(
            model=name, to=to, level=level, precision=precision, differences={"logits": 0.0}, bytes=1, problem=None
        )

    monkeypatch.setattr(export_matrix, "attempt", attempt)
    return made


def test_rows_are_kept_unless_they_are_of_other_versions_or_of_nothing(export_matrix, exports, tmp_path, capsys):
    path = tmp_path / "card.json"
    for _ in range(2):
        export_matrix.main(["--card", str(path), *ARGUMENTS])
    assert exports == [("tiny_ssd", "torch-export", "raw")]
    export_matrix.main(["--card", str(path), *ARGUMENTS, "decoded"])
    assert exports[1:] == [("tiny_ssd", "torch-export", "decoded")]
    card = read_card(path)
    failed = replace(card.rows[0], differences=None, bytes=None, problem="no")
    write_card(path, replace(card, rows=(failed, *card.rows[1:])))
    export_matrix.main(["--card", str(path), *ARGUMENTS])
    assert len(exports) == 3 and all(row.problem is None for row in read_card(path).rows)
    old = replace(card.made, versions={**card.made.versions, "torch": "2.0.0"})
    write_card(path, replace(card, made=old))
    export_matrix.main(["--card", str(path), *ARGUMENTS])
    assert len(exports) == 4 and "begun anew" in capsys.readouterr().out


def test_an_exporter_that_fails_is_a_row_that_says_so(export_matrix, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(export_matrix, "export", fails)
    row = export_matrix.attempt(None, "tiny_ssd", "onnx", "raw", "float32")
    assert (row.problem, row.differences, row.bytes) == ("no such operator", None, None)


def test_a_precision_that_no_format_has_is_said(export_matrix, tmp_path):
    with pytest.raises(SystemExit, match="--precision int4: none of torch-export has it"):
        export_matrix.main(["--card", str(tmp_path / "card.json"), *ARGUMENTS, "--precision", "int4"])
