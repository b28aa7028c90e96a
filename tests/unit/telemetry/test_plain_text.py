"""Histograms and many series, written directly: what a parser reads back."""

from math import inf

from prometheus_client.parser import text_string_to_metric_families

from scheduler_server.model.histogram import Histogram
from scheduler_server.telemetry.instrument import Instrument, Kind, label
from scheduler_server.telemetry.plain_text import PlainText

METHOD = label("grpc.method", ("a.B/C", "a.B/D"))
ROW = Instrument("a.b", Kind.HISTOGRAM, "s", "how long", (METHOD,))


def test_a_histogram_is_read_back_as_it_was() -> None:
    values = Histogram((1e-5, 0.5, 2.0))
    for value in (1e-6, 0.5, 0.6, 3.0, 4.0):
        values.observe(value)
    writer = PlainText(ROW)
    for _ in range(2):  # the second time from what the first has prepared
        text = writer.head() + writer.histogram(values, ("a.B/C",)) + writer.histogram(Histogram((1.0,)), ("a.B/D",))
        [family] = text_string_to_metric_families(text)
        assert (family.name, family.type, family.documentation) == ("a_b_seconds", "histogram", "how long")
        ours = [sample for sample in family.samples if sample.labels["grpc_method"] == "a.B/C"]
        buckets = {
            float(sample.labels["le"].replace("+Inf", "inf")): sample.value
            for sample in ours
            if sample.name == "a_b_seconds_bucket"
        }
        assert buckets == {1e-5: 1, 0.5: 2, 2.0: 3, inf: 5}
        assert {sample.name: sample.value for sample in ours if "le" not in sample.labels} == {
            "a_b_seconds_count": 5,
            "a_b_seconds_sum": values.total,
        }


def test_a_counter_is_read_back_as_it_was() -> None:
    writer = PlainText(Instrument("a.calls", Kind.COUNTER, "{call}", "calls", (METHOD,)))
    text = writer.head() + writer.sample(3, ("a.B/C",)) + writer.sample(0, ("a.B/D",))
    [family] = text_string_to_metric_families(text)
    assert family.type == "counter"
    assert {sample.labels["grpc_method"]: sample.value for sample in family.samples} == {"a.B/C": 3, "a.B/D": 0}
    assert {sample.name for sample in family.samples} == {"a_calls_total"}


def test_without_labels_there_are_no_braces() -> None:
    writer = PlainText(Instrument("a.wait", Kind.HISTOGRAM, "s", "a wait"))
    assert "a_wait_seconds_count 0.0\n" in writer.histogram(Histogram((1.0,)), ())
