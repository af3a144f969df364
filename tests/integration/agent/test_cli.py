"""The command line: every command on a real store, and over a real bus to a real agent."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent import cli
from tests.support.agent import AgentProcess
from tests.support.broker import a_broker
from tests.support.ports import free_pair

pytestmark = pytest.mark.integration

HEADER = ["model_name", "hardware", "batch_size", "throughput_items_per_s", "latency_ms", "power_w"]


class Ran:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    monkeypatch.setenv("PLACEWISE_EMBEDDED_PORT", str(free_pair()))
    monkeypatch.setenv("PLACEWISE_KNOWLEDGE", "false")
    monkeypatch.setenv("COLUMNS", "200")

    def execute(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["placewise", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    yield execute
    structlog.reset_defaults()  # what a command configured holds on to this test's output


@pytest.fixture
def measurements(tmp_path: Path) -> Path:
    path = tmp_path / "measurements.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for hardware, speed in (("fast", 4.0), ("slow", 1.0)):
            for model, work in (("small", 1.0), ("large", 8.0)):
                for batch in (1, 4, 16):
                    rate = 100 * speed / work
                    row = [model, hardware, batch, rate, 1e3 * batch / rate, 50 * speed]
                    writer.writerow(row)
    return path


@pytest.fixture
def store(run: Any, measurements: Path, tmp_path: Path) -> Path:
    path = tmp_path / "store.duckdb"
    ran = run("import", measurements, "--store", path, "--json")
    assert ran.code == 0
    assert ran.json["stored"] == 12
    return path


def test_import_again_changes_nothing(run: Any, store: Path, measurements: Path) -> None:
    ran = run("import", measurements, "--store", store)
    assert ran.code == 0
    assert "0 stored" in ran.out
    assert "12 already there" in ran.out


def test_import_names_each_refused_row(run: Any, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("model_name,hardware,latency_ms\na,b,5\na,b,-5\na,,5\n")
    ran = run("import", path, "--store", store)
    assert ran.code == 5
    assert "1 stored" in ran.out
    assert "metrics.latency_ms" in ran.out
    assert "hardware.name" in ran.out


def test_import_maps_other_names(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("net,gpu,ms\na,b,5\n")
    mapped = ["--map", "net=model_name", "--map", "gpu=hardware", "--map", "ms=latency_ms"]
    store = tmp_path / "mapped.duckdb"
    assert run("import", path, "--store", store, *mapped, "--json").json["stored"] == 1
    assert run("import", path, "--store", store).code == 2
    assert run("import", path, "--store", store, "--map", "nonsense").code == 2


def test_predict(run: Any, store: Path) -> None:
    shown = run("predict", "small", "-H", "fast", "-H", "slow", "-b", 4, "--store", store)
    assert shown.code == 0
    assert "throughput" in shown.out
    reply = run("predict", "small", "-H", "fast", "-b", 4, "--store", store, "--json").json
    assert 100 < reply["predictions"][0]["metrics"]["throughput_per_s"]["value"] < 1_600


def test_a_whole_request_from_a_file(run: Any, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text('{"candidates": [{"model": "small", "hardware": "fast"}]}')
    assert run("predict", "--request", path, "--store", store, "--json").code == 0
    path.write_text("[]")
    assert run("predict", "--request", path, "--store", store).code == 2
    assert run("predict", "--request", tmp_path / "none.json", "--store", store).code == 2


def test_compare_hardware(run: Any, store: Path) -> None:
    ran = run("compare-hardware", "small", "--batch-sizes", "1,16", "--store", store, "--json")
    assert [row["rank"] for row in ran.json["rows"]] == [1, 2, 3, 4]
    assert ran.json["rows"][0]["hardware"] == "fast"
    assert run("compare-hardware", "small", "-b", 4, "--store", store).code == 0
    assert run("compare-hardware", "small", "--batch-sizes", "x", "--store", store).code == 2


def test_recommend_hardware(run: Any, store: Path) -> None:
    best = run("recommend-hardware", "small", "-b", 4, "--store", store)
    assert best.code == 0
    assert "fast" in best.out
    frugal = ["--weight", "power=1", "--limit", "power_w=120"]
    ran = run("recommend-hardware", "small", "-b", 4, *frugal, "--store", store, "--json")
    assert ran.json["recommended"]["hardware"] == "slow"
    nothing = run("recommend-hardware", "small", "--limit", "power_w=1", "--store", store)
    assert nothing.code == 4
    assert "nothing qualifies" in nothing.out


def test_place(run: Any, store: Path) -> None:
    models = ["-m", "small@4", "-m", "large@4"]
    ran = run("place", *models, "-d", "a=fast", "-d", "b=slow@8000", "--store", store)
    assert ran.code == 0
    assert "capacity" in ran.out
    assert run("place", *models, "-d", "nonsense", "--store", store).code == 2
    assert run("place", "-m", "small@x", "-d", "a=fast", "--store", store).code == 2


def test_strategy(run: Any, store: Path) -> None:
    models = ["-m", "small@4", "-m", "large@4"]
    ran = run("strategy", *models, "-H", "fast", "--goal", "latency", "--store", store)
    assert ran.code == 0
    assert "sequential" in ran.out
    mix = ["--weight", "latency=2", "--weight", "throughput=1", "--explore-budget", "0.05"]
    ran = run("strategy", *models, "-H", "fast", *mix, "--store", store)
    assert ran.code == 0
    assert "the best mix of throughput and latency" in ran.out
    assert run("strategy", *models, "-H", "fast", "--weight", "speed=1").code == 2
    limit = ["--limit", "latency_ms=0.001"]
    assert run("strategy", *models, "-H", "fast", *limit, "--store", store).code == 4


def test_replay_of_a_log(run: Any, store: Path) -> None:
    ran = run("replay", "--store", store, "--json")
    assert ran.code == 0
    assert ran.json["records"] == 12
    assert ran.json["answers_that_differ"] == 0


def test_evaluate(run: Any, measurements: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    ran = run("evaluate", measurements, "--test", measurements, "--json", out)
    assert ran.code == 0
    figures = json.loads(out.read_text())["throughput_per_s"]
    assert figures["all"]["rows"] == 12
    assert set(figures["sources"]) == {f"file:{measurements.name}"}
    ran = run("evaluate", measurements, "--protocol", "prequential", "--json", "-")
    assert "latency_ms" in ran.json
    assert run("evaluate", measurements).code == 2
    assert run("evaluate", measurements, "--protocol", "odd").code == 2


def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    run: Any, store: Path, measurements: Path, tmp_path: Path
) -> None:
    nowhere = tmp_path / "none" / "x.json"
    for command in (
        ("evaluate", measurements, "--protocol", "prequential", "--json"),
        ("integrate", "-b", 2, "--store", store, "--output"),
        ("strategy", "-m", "small@4", "-H", "fast", "--store", store, "--picture"),
    ):
        for path in (nowhere, tmp_path):
            ran = run(*command, path)
            assert (ran.code, ran.out) == (2, "")
            assert ran.err.startswith("error: ")
            assert len(ran.err.splitlines()) == 1


def test_the_answer_is_shown_and_written(run: Any, store: Path, tmp_path: Path) -> None:
    wanted, picture = tmp_path / "wanted.json", tmp_path / "picture.svg"
    ran = run("integrate", "-b", 2, "--store", store, "--output", wanted, "--json")
    assert (ran.code, ran.json) == (0, json.loads(wanted.read_text()))
    models = ("-m", "small@4", "-m", "large@4")
    ran = run("strategy", *models, "-H", "fast", "--store", store, "--picture", picture)
    assert ran.code == 0
    assert "<svg" in picture.read_text()


@pytest.mark.parametrize("columns", [80, 200])
def test_names_and_numbers_are_whole_in_a_pipe(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ("nvidia-a100-sxm4-80gb-hbm2e", "nvidia-a100-sxm4-40gb-hbm2e")
    path, store = tmp_path / "long.csv", tmp_path / "long.duckdb"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, hardware in enumerate(names, 1):
            for batch in (1, 4, 16):
                writer.writerow(["a_network_of_a_long_name", hardware, batch, 1e6 * number, 5, 300])
    assert run("import", path, "--store", store).code == 0
    model = ("a_network_of_a_long_name", "-b", 4)
    for command in (
        ("compare-hardware", *model),
        ("recommend-hardware", *model),
        ("active-learning", "-b", 2, "-b", 8),
        ("integrate", "-b", 2, "-b", 8),
        ("batch", "-b", 2, "-b", 8),
        ("models",),
    ):
        ran = run(*command, "--store", store)
        assert ran.code == 0, ran.err
        rows = [line for line in ran.out.splitlines() if line.startswith("│")]
        for name in names:
            assert any(name in row for row in rows), (command, ran.out)
    ran = run("evaluate", path, "--protocol", "prequential")
    assert "half-width" in ran.out
    assert "throughput_per_s" in ran.out
    assert "file:long.csv" in ran.out


def test_small_mistakes_are_named(run: Any, store: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    for command in (("import", empty), ("replay", empty), ("evaluate", "--test", empty, empty)):
        ran = run(*command)
        assert (ran.code, "empty.csv is empty" in ran.err) == (2, True)
    ran = run("batch", "--limit", "fast=-1", "--store", store)
    assert (ran.code, "0 or more" in ran.err) == (2, True)
    ran = run("active-learning", "--worth", "gain_per_cost", "--store", store)
    assert ran.code == 2
    assert "--cost-per-hour" in ran.err
    assert len(ran.err) < 200
    ran = run("run", "--explore", "9" * 26)
    assert (ran.code, "at most 1e+09" in ran.err) == (2, True)


def test_help_names_every_command(run: Any) -> None:
    ran = run("--help")
    assert ran.code == 0
    for command in (
        *("run", "demo", "import", "replay", "predict", "compare-hardware"),
        *("recommend-hardware", "place", "strategy", "status", "evaluate"),
    ):
        assert command in ran.out
        assert run(command, "--help").code == 0


def test_nobody_there(run: Any, tmp_path: Path) -> None:
    ran = run("predict", "a", "-H", "b", "--store", tmp_path / "none.duckdb")
    assert ran.code == 3
    assert "placewise run" in ran.err


def test_wrong_settings(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACEWISE_HTTP_PORT", "many")
    ran = run("status")
    assert ran.code == 2
    assert "PLACEWISE_HTTP_PORT" in ran.err


def test_over_the_bus(run: Any, measurements: Path, tmp_path: Path) -> None:
    with a_broker("embedded", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        agent.start()
        address = ["--broker", f"mqtt://127.0.0.1:{broker.port}"]
        ran = run("replay", measurements, *address, "--limit", 10, "--rate", 500, "--json")
        assert (ran.code, ran.json["published"]) == (0, 10)
        for _ in range(200):
            status = run("status", *address, "--json").json
            if status["events_logged"] == 10:
                break
        assert status["events_logged"] == 10
        assert run("status", *address).code == 0
        ran = run("predict", "small", "-H", "fast", *address, "--json")
        assert ran.json["predictions"][0]["metrics"]
        assert run("recommend-hardware", "small", *address).code == 0
        late = run("models", *address, "--timeout", 0.1, "--json")
        assert late.code in (0, 3)  # it may well be quick enough
        bad = run("predict", "small", "-H", "fast", "-b", 99_999_999, *address)
        assert bad.code == 2
        assert "batch_size" in bad.err


def test_models_and_update(run: Any, store: Path) -> None:
    shown = run("models", "--store", store)
    assert shown.code == 0
    assert "version 0" in shown.out
    assert run("models", "--store", store, "--json").json["observations_learned"] == 12
    assert run("update", "rollback").code == 2, "a rollback needs a version"
    assert run("update", "guess").code == 2


def test_what_is_impossible_is_listed_and_released(run: Any, tmp_path: Path) -> None:
    path, table = tmp_path / "store.duckdb", tmp_path / "impossible.csv"
    header = "source,row_id,model_name,hardware,gmacs,precision,throughput_items_per_s"
    table.write_text(
        f"{header}\nlab,1,net,nvidia-t4,4.1,fp16,900\nlab,2,net,nvidia-t4,4.1,fp16,90000\n"
    )
    assert run("import", table, "--store", path).code == 0

    listed = run("quarantine", "--store", path, "--json").json
    assert [one["id"] for one in listed["measurements"]] == ["2"]
    assert "TFLOP/s" in run("quarantine", "--store", path).out
    assert run("quarantine", "release", "lab", "1", "--store", path).code == cli.BAD_INPUT
    released = run("quarantine", "release", "lab", "2", "--store", path, "--json")
    assert (released.code, released.json["released"][0]["id"]) == (0, "2")
    after = run("quarantine", "--store", path, "--json").json
    assert (after["held"], after["released"]) == (0, 1)
    assert run("replay", "--store", path).code == 0


def test_capacity(run: Any, store: Path) -> None:
    llm = ("capacity", "llm", "-H", "nvidia-rtx-4090", "--store", store, "--parameters-m", 8030)
    sizes = ("--kv-values-per-token", 65_536, "--find", "context")
    both = run(*llm, *sizes, "--precision", "int8", "--precision", "int4", "--json")
    assert both.code == 0
    eight, four = (one["largest"] for one in both.json["rows"])
    assert 0 < eight < four
    shown = run(*llm, *sizes, "--precision", "int4")
    assert f"{four:,}" in shown.out
    assert run(*llm, *sizes, "--precision", "fp32", "--json").code == 4, "nothing fits"
    assert run("capacity", "llm").code == cli.BAD_INPUT
    assert run(*llm, "--find", "speed").code == cli.BAD_INPUT
