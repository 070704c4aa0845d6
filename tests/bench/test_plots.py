"""Plots: well-formed, and only of what there are figures for."""

from pathlib import Path
from xml.etree import ElementTree

from bench.plots import PLOTS, write_plots
from bench.rows import METRICS, Key, Results
from bench.speed import ROWS


def test_plots_are_of_rows_and_metrics_that_exist():
    for plot in PLOTS:
        assert plot.metric in METRICS
        assert set(plot.rows) <= {row.name for row in ROWS}


def test_a_plot_is_well_formed_and_names_its_contestants(tmp_path: Path):
    found = Results()
    for value in (100.0, 120.0):
        found.add("receive-ct", "Tackybox", {"images_per_s": value})
        found.add("receive-ct", "a <peer> & more", {"images_per_s": value / 2})
    write_plots(found, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["speed-receive.svg"]
    root = ElementTree.parse(tmp_path / "speed-receive.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a <peer> & more" in texts
    assert "110" in texts


def test_bars_begin_at_zero(tmp_path: Path):
    found = Results({Key("receive-ct", "Tackybox", "images_per_s"): [0.0]})
    write_plots(found, tmp_path)
    assert 'width="0.0"' in (tmp_path / "speed-receive.svg").read_text()
