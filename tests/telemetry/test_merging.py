"""The figures of several processes as those of one."""

from prometheus_client.parser import text_string_to_metric_families

from extauthz.model import Reason
from extauthz.telemetry import MergedMetrics, Metrics


def figures(allowed: int, denied: int = 0, *, inflight: int = 0, generation: int = 1) -> bytes:
    """What a process has counted."""
    metrics = Metrics()
    for reason, count in ((Reason.ALLOWED, allowed), (Reason.NO_RULE, denied)):
        for _ in range(count):
            metrics.checked(reason, 0.0002)
    metrics.inflight = inflight
    metrics.policy_loaded("success", generation)
    return metrics.render()


def values(text: bytes) -> dict[str, float]:
    """Each sample by its name and labels."""
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counters_and_histograms_add_up() -> None:
    """Bucket by bucket."""
    seen = values(MergedMetrics().merged([figures(3, 1), figures(4)])[0])
    assert seen["extauthz_check_total,reason=allowed,result=allow"] == 7
    assert seen["extauthz_check_total,reason=no-rule,result=deny"] == 1
    assert seen["extauthz_check_duration_seconds_bucket,le=0.00025,result=allow"] == 7
    assert seen["extauthz_check_duration_seconds_bucket,le=0.0001,result=allow"] == 0
    assert seen["extauthz_check_duration_seconds_count,result=allow"] == 7
    assert abs(seen["extauthz_check_duration_seconds_sum,result=allow"] - 7 * 0.0002) < 1e-9


def test_what_a_gauge_of_all_is_depends_on_what_it_tells() -> None:
    """Checks in flight add up; the policies that all have are those of the slowest."""
    seen = values(
        MergedMetrics().merged([figures(0, inflight=2, generation=4), figures(0, inflight=3, generation=5)])[0]
    )
    assert seen["extauthz_inflight"] == 5
    assert seen["extauthz_policy_generation"] == 4


def test_what_a_dead_process_counted_stays() -> None:
    """A sum that goes back would be a restart to Prometheus; what was in flight there is no more."""
    merged = MergedMetrics()
    merged.retire(figures(5, inflight=2))
    merged.retire(figures(2))
    seen = values(merged.merged([figures(1), b""])[0])
    assert seen["extauthz_check_total,reason=allowed,result=allow"] == 8
    assert seen["extauthz_check_duration_seconds_count,result=allow"] == 8
    assert seen["extauthz_inflight"] == 0


def test_the_share_of_each_worker_is_told() -> None:
    """Whether all of them get their part."""
    seen = values(MergedMetrics().merged([figures(3, 1), b"", figures(2)])[0])
    assert [seen[f"extauthz_worker_check_total,worker={number}"] for number in range(3)] == [4, 0, 2]
