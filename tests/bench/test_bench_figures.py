"""From what wrk prints to ratios, tables and pictures."""

from math import nan
from xml.etree import ElementTree as ET

import pytest

from bench import h2load, load, plot, results, soak
from bench.figures import Figure
from bench.load import Load
from bench.results import Ratio, Sample
from bench.scenarios import KINDS, SCENARIOS

PRINTED = """\
Running 1s test @ http://127.0.0.1:1234/users/1
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.12ms  300.00us   9.00ms   90.00%
    Req/Sec    25.50k     1.00k   27.00k    60.00%
  Latency Distribution
     50%  870.00us
     75%    1.20ms
     90%    1.50ms
     99%    1.02s 
  28010 requests in 1.10s, 12.00MB read
Requests/sec:  25454.54
Transfer/sec:     10.91MB
"""  # noqa: W291 as wrk prints it


SMALL, MIX = SCENARIOS["small"], SCENARIOS["mix"]


def sample(rate, errors=0, cpu=40.0):
    return Sample(Load(int(rate), rate, 1.5, 9.0, errors), cpu, 50_000_000)


def test_what_wrk_prints_is_understood():
    assert load.parse(PRINTED, SMALL) == Load(28010, 25454.54, 0.87, 1020.0, 0)


def test_errors_of_both_kinds_are_counted():
    lines = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\n"
    assert load.parse(PRINTED.replace("Requests/sec", lines + "Requests/sec"), SMALL).errors == 110


def test_what_a_scenario_does_not_ask_for_is_an_error():
    lines = f"  Non-2xx or 3xx responses: {28010 // 6 + 40}\n"
    assert load.parse(PRINTED.replace("Requests/sec", lines + "Requests/sec"), MIX).errors == 40 - MIX.connections


def test_what_wrk_does_not_print_is_an_error():
    with pytest.raises(ValueError, match="wrk printed no"):
        load.parse("unable to connect to 127.0.0.1:1 Connection refused", SMALL)


H2LOAD = """\
finished in 2.01s, 63740.50 req/s, 4.74MB/s
requests: 127481 total, 127489 started, 127481 done, 127479 succeeded, 2 failed, 1 errored, 3 timeout
status codes: 127470 2xx, 1 3xx, 3 4xx, 5 5xx
traffic: 4.74MB (4971818) total, 3.16MB (3314480) headers (space savings 50.00%), 497.97KB (509920) data
"""


def test_what_h2load_prints_is_understood():
    times = "".join(f"1795984104238154\t200\t{microseconds}\n" for microseconds in range(1000, 102_000, 1000))
    assert h2load.parse(H2LOAD, times) == Load(127_479, 63740.5, 51.0, pytest.approx(101, abs=1), 14)


def test_what_h2load_does_not_print_is_an_error():
    with pytest.raises(ValueError, match="h2load printed no"):
        h2load.parse("could not connect", "")


def test_ratios_are_taken_round_by_round():
    measured = {
        "plain": [sample(100), sample(200), sample(50)],
        "gproxy": [sample(300, cpu=20.0), sample(400, cpu=30.0), sample(200, cpu=10.0)],
    }
    assert results.ratios(measured, results.RATE) == {"plain": Ratio(1, 1, 1), "gproxy": Ratio(3, 2, 4)}
    assert results.ratios(measured, results.CPU) == {"plain": Ratio(1, 1, 1), "gproxy": Ratio(0.5, 0.25, 0.75)}


def test_a_yardstick_that_answers_nothing_is_an_error_and_no_ratio():
    measured = {"plain": [sample(0)], "gproxy": [sample(300, errors=3)]}
    assert str(results.ratios(measured, results.RATE)["gproxy"]) == str(Ratio(nan, nan, nan))
    assert results.errors(measured) == 4


def test_the_table_has_a_line_for_each_peer_with_the_cpu_time_first():
    assert results.table({"plain": [sample(100)], "gproxy": [sample(350, errors=2, cpu=10.0)]}) == [
        "  peer         CPU us   ratio     min..max     req/s   ratio     min..max   p50 ms   p99 ms   RSS MB  errors",
        "  plain            40    1.00   1.00..1.00       100    1.00   1.00..1.00     1.50     9.00       50",
        "  gproxy           10    0.25   0.25..0.25       350    3.50   3.50..3.50     1.50     9.00       50       2",
    ]


def test_the_summary_compares_gproxy_with_each_peer_and_begins_with_varied_traffic():
    measured = {
        "small": {"go": [sample(100)], "nginx": [sample(700, cpu=10.0)], "gproxy": [sample(350, cpu=20.0)]},
        "jwt": {"go": [sample(100)], "gproxy": [sample(100, cpu=40.0)]},
        "flask": {"gunicorn": [sample(100)], "gproxy": [sample(200, cpu=20.0)]},
        "new-jwt": {"go": [sample(100)], "gproxy": [sample(50, cpu=30.0)]},
    }
    head = " | CPU time, go = 1 | CPU time, nginx = 1 | requests/s, go = 1 | requests/s, nginx = 1 |"
    assert results.summary(measured, KINDS) == [
        "",
        "| no request like another | CPU time, go = 1 | requests/s, go = 1 |",
        "|---|---|---|",
        "| the same with a new token each time | 0.75 | 0.50 |",
        "",
        f"| the same request again{head}",
        "|---|---|---|---|---|",
        "| 118 bytes of JSON | 0.50 | 2.00 | 3.50 | 0.50 |",
        "| 118 bytes of JSON with a token | 1.00 | - | 1.00 | - |",
        "",
        "| an app as a route | CPU time, gunicorn = 1 | requests/s, gunicorn = 1 |",
        "|---|---|---|",
        "| Flask's hello world | 0.50 | 2.00 |",
    ]


PEERS = ["plain", "a & b", "gproxy"]
COMPARED = {
    "small": {"plain": Ratio(1, 1, 1), "a & b": Ratio(0.5, 0.4, 0.6), "gproxy": Ratio(5, 4, 6)},
    "close": {"plain": Ratio(1, 1, 1), "a & b": Ratio(nan, nan, nan), "gproxy": Ratio(2.5, 2, 3)},
}


def drawn(compared):
    return ET.fromstring(plot.svg(compared, PEERS, KINDS))


def elements(name, kind):
    return drawn(COMPARED).findall(f".//{{*}}{name}[@class='{kind}']")


def test_the_picture_has_a_bar_for_each_ratio_as_long_as_it_is():
    bars = elements("rect", "bar")
    titles = [bar.findtext("{*}title") for bar in bars]
    assert titles[1:3] == ["small, a & b: 0.50 (0.40 to 0.60)", "small, gproxy: 5.00 (4.00 to 6.00)"]
    assert len(bars) == 5  # one has no figure
    lengths = [float(bar.get("width")) for bar in bars]
    assert [round(length / lengths[0], 1) for length in lengths] == [1, 0.5, 5, 1, 2.5]


def test_the_picture_has_whiskers_where_rounds_differ():
    assert len(elements("path", "whisker")) == 3


def test_a_peer_has_one_colour_and_gproxy_always_the_same():
    assert len({bar.get("fill") for bar in elements("rect", "bar")}) == 3
    assert plot.colours(["gproxy"])["gproxy"] == plot.colours(["go", "nginx", "gproxy"])["gproxy"]


def test_a_peer_has_its_colour_where_another_one_is_not_measured():
    picture = drawn(COMPARED | {"jwt": {"plain": Ratio(1, 1, 1), "gproxy": Ratio(2, 2, 2)}})
    fills = [bar.get("fill") for bar in picture.findall(".//{*}rect[@class='bar']")]
    assert fills[-4:-2] == fills[-2:] == [fills[0], fills[2]]  # of jwt and of close


def test_the_picture_shows_varied_traffic_first():
    picture = drawn({**COMPARED, "varied": {"plain": Ratio(1, 1, 1), "gproxy": Ratio(2, 2, 2)}})
    headings = [(text.text, float(text.get("y"))) for text in picture.findall(".//{*}text[@class='kind']")]
    bars = {
        bar.findtext("{*}title").split(",")[0]: float(bar.get("y")) for bar in picture.findall(".//*[@class='bar']")
    }
    (varied, first), (repeated, second) = headings
    assert [varied, repeated] == list(KINDS)[:2]
    assert first < bars["varied"] < second < min(bars["small"], bars["close"])


def test_the_picture_can_be_read_in_the_dark():
    assert "prefers-color-scheme: dark" in plot.svg(COMPARED, PEERS, KINDS)


@pytest.mark.parametrize("largest", [1, 1.9, 7, 31, 500])
def test_the_grid_reaches_the_largest_value_in_few_steps(largest):
    picture = drawn({"small": {"plain": Ratio(largest, largest, largest)}})
    lines = picture.findall(".//{*}line[@class='grid']")
    assert 3 <= len(lines) <= 10
    bar = picture.find(".//{*}rect[@class='bar']")
    assert float(bar.get("x")) + float(bar.get("width")) <= float(lines[-1].get("x1")) + 0.1


def test_a_figure_says_whether_it_is_within_its_limit():
    assert str(Figure("memory", 3, "KiB", 12)).split() == ["memory", "3.00", "KiB", "<=", "12", "ok"]
    assert str(Figure("memory", 13, "KiB", 12)).endswith("FAILED")
    assert str(Figure("memory", 13, "KiB")).split() == ["memory", "13.00", "KiB"]


def test_memory_that_wavers_or_takes_a_step_is_fine_and_memory_that_rises_is_not():
    wavering = [50_000_000 + 400_000 * (number % 2) for number in range(600)]
    step = [value + 1_500_000 * (number > 300) for number, value in enumerate(wavering)]
    rising = [value + 2_000 * number for number, value in enumerate(wavering)]
    many_steps = [value + 1_500_000 * (number // 100) for number, value in enumerate(wavering)]
    assert [soak.growth(samples)[1].ok for samples in (wavering, step, rising)] == [True, True, False]
    assert [soak.growth(samples)[2].ok for samples in (step, many_steps)] == [True, False]
