"""GET /metrics: what Prometheus reads."""

import re

from tests.support.serve import vm_config

NAME = r"[a-z_:][a-z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(\{{{NAME}="(?:[^"\\]|\\.)*"(?:,{NAME}="(?:[^"\\]|\\.)*")*\}})? (\S+)')


def scrape(api) -> dict[str, float]:
    """Every sample by its name and labels; checks what the format asks for."""
    answer = api.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    assert text.endswith("\n")
    samples: dict[str, float] = {}
    types: dict[str, str] = {}
    family = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in types and len(line.split()) > 3
        elif line.startswith("# TYPE "):
            assert line.split()[2] == family
            types[family] = line.split()[3]
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            suffixes = ("_bucket", "_sum", "_count") if types[family] == "histogram" else ("",)
            assert match[1] in [family + suffix for suffix in suffixes], line
            assert (types[family] == "counter") == match[1].endswith("_total"), line
            assert match[1] + (match[2] or "") not in samples, line
            samples[match[1] + (match[2] or "")] = float(match[3])
    return samples


def test_the_process_tells_of_itself(server, api):
    samples = scrape(api)
    assert any(name.startswith("hako_build_info{version=") for name in samples)
    assert samples["process_resident_memory_bytes"] > 1 << 20
    assert samples["process_open_fds"] >= 5
    assert samples["process_threads"] == 2  # control, API
    assert sum(value for name, value in samples.items() if name.startswith("hako_vm_state")) == 0
    api.put("vm.create", vm_config())
    assert scrape(api)['hako_vm_state{state="Created"}'] == 1


def test_requests_are_counted_with_how_long_they_took(api):
    for _ in range(3):
        api.get("vmm.ping")
    api.ask("GET", "/api/v1/vm.info")
    for i in range(50):
        api.ask("GET", f"/secret/{i}")
    samples = scrape(api)
    name = "hako_api_request_duration_seconds"
    labels = 'method="GET",path="/api/v1/vmm.ping",status="200"'
    assert samples[f"{name}_count{{{labels}}}"] == 3
    assert samples[f'{name}_bucket{{{labels},le="+Inf"}}'] == 3
    assert samples[f"{name}_sum{{{labels}}}"] > 0
    buckets = [value for key, value in samples.items() if key.startswith(f"{name}_bucket{{{labels},")]
    assert buckets == sorted(buckets) and len(buckets) == 25
    assert samples[f'{name}_count{{method="GET",path="/api/v1/vm.info",status="404"}}'] == 1
    assert samples[f'{name}_count{{method="GET",path="other",status="404"}}'] == 50
    assert not any("secret" in key for key in samples)
