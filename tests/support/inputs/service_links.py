"""Variables that Kubernetes gives every pod for the Services of its namespace.

Source: FromServices in kubernetes/pkg/kubelet/envvars/envvars.go.
"""

from __future__ import annotations

# Name of the Service → address and ports (name, number, protocol). The first three are KServe's and ours; the others are made
# up, and two of those give a variable the name of a setting of ours.
SERVICES: dict[str, tuple[str, list[tuple[str, int, str]]]] = {
    "visual-search-champion-predictor": ("10.96.0.9", [("http", 80, "TCP")]),
    "visual-search-challenger-predictor": ("10.96.0.10", [("http", 80, "TCP")]),
    "visual-search-predictor": ("10.96.0.11", [("", 80, "TCP"), ("https-metrics", 8443, "TCP")]),
    "visual-search-page": ("fd00:10:96::7", [("http", 8080, "TCP"), ("dns", 53, "UDP"), ("calls", 5060, "SCTP")]),
    "visual-search-encoder-http": ("10.96.0.12", [("", 8085, "TCP")]),
    "visual-search-transformer-http": ("10.96.0.13", [("rest", 8080, "TCP")]),
    "mlflow": ("10.96.0.14", [("http", 5000, "TCP")]),
}


def service_links() -> dict[str, str]:
    """Return the variables of all these Services."""
    found: dict[str, str] = {}
    for name, (host, ports) in SERVICES.items():
        found |= _links(name.upper().replace("-", "_"), host, ports)
    return found


def _links(base: str, host: str, ports: list[tuple[str, int, str]]) -> dict[str, str]:
    joined = f"[{host}]" if ":" in host else host
    found = {f"{base}_SERVICE_HOST": host, f"{base}_SERVICE_PORT": str(ports[0][1])}
    found[f"{base}_PORT"] = f"{ports[0][2].lower()}://{joined}:{ports[0][1]}"
    for name, number, protocol in ports:
        if name:
            found[f"{base}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = str(number)
        port = f"{base}_PORT_{number}_{protocol}"
        found |= {
            port: f"{protocol.lower()}://{joined}:{number}",
            f"{port}_PROTO": protocol.lower(),
            f"{port}_PORT": str(number),
            f"{port}_ADDR": host,
        }
    return found
