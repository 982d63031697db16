"""The measuring of the index finds what it has made.  No test looks at a time."""

from pathlib import Path

from benchmarks.index import build, measure


def test_a_made_up_cache_is_opened_and_measured(tmp_path: Path) -> None:
    """Two runs; `measure` compares how many names are found with how many there are."""
    build(tmp_path / "cache", 70_000)
    found = measure(tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("run-*"))) == 2
    assert found["peak memory, MiB"] >= found["of which before opening"] > 0  # other tests may have used more before
    assert found["cache on disk, MiB"] > 70_000 * 85 / (1 << 20)
