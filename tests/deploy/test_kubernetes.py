"""The Kubernetes objects are valid, refer to what exists, and fit the settings, commands and metrics of the service.

No validator knows the objects of KEDA, so that their fields are compared one by one.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import msgspec
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.conftest import KUBERNETES, ROOT, Stack
from workers import Settings
from workers.cli.main import _parser
from workers.process.worker import REQUEUE_S
from workers.settings import variable

Object = dict[str, Any]
KEDA = {"ScaledObject", "ScaledJob", "TriggerAuthentication"}
# The oldest version that the page names, and the newest of the validator.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
SETTINGS = {variable(field.name) for field in msgspec.structs.fields(Settings)}
PAGE = (ROOT / "docs" / "deployment.md").read_text()
# Variables of the object store's client and of Python, and those that only others refer to.
OTHERS = {"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "TMPDIR"}
REFERRED_TO = {"POD_IP", "PUBLIC_HOSTS"}
METRICS_URL = "http://barstorm-api.barstorm.svc:8000/metrics"


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def pods(objects: list[Object]) -> dict[str, Object]:
    """The pod templates by the name of what starts them."""
    jobs = {name: found["spec"]["jobTargetRef"]["template"] for name, found in of_kind(objects, "ScaledJob").items()}
    return jobs | {found["metadata"]["name"]: found["spec"]["template"] for found in objects if found["kind"] in ("Deployment", "Job")}


def containers(objects: list[Object]) -> dict[str, Object]:
    found = {}
    for name, pod in pods(objects).items():
        (found[name],) = pod["spec"]["containers"]
    return found


def environ(objects: list[Object], name: str) -> dict[str, str]:
    """The variables of a container; secrets are placeholders of the right form."""
    container, settings = containers(objects)[name], of_kind(objects, "ConfigMap")["barstorm"]["data"]
    values: dict[str, str] = dict(settings)
    for given in container["env"]:
        source = given.get("valueFrom", {})
        if "secretKeyRef" in source:
            values[given["name"]] = {"DATABASE_URL": "postgresql://u:p@db/b", "REDIS_URL": "redis://:p@r:6379/0"}.get(given["name"], "x")
        elif "fieldRef" in source:
            values[given["name"]] = "10.0.0.7"
        elif "configMapKeyRef" in source:
            values[given["name"]] = settings[source["configMapKeyRef"]["key"]]
        else:
            values[given["name"]] = re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], given["value"])
    return values


def bytes_of(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_that_kubernetes_defines_is_valid(objects: list[Object], version: str) -> None:
    unknown = set()
    for found in objects:
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(found["kind"])
    assert unknown == KEDA
    assert {found["kind"] for found in objects} == KEDA | {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pods_of_a_scaled_job_are_valid(objects: list[Object], version: str) -> None:
    (scaled,) = of_kind(objects, "ScaledJob").values()
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "b"}, "spec": scaled["spec"]["jobTargetRef"]}
    kubernetes_validate.validate(job, version, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "nonsense"), 1),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), "long"),
        (("spec", "template", "spec", "containers", 0, "livenessProbe"), {"httpGet": {"path": "/"}}),
    ],
)
def test_an_object_with_a_mistake_is_not_valid(objects: list[Object], path: tuple[Any, ...], value: Any) -> None:
    changed = msgspec.json.decode(msgspec.json.encode(of_kind(objects, "Deployment")["barstorm-api"]))
    *way, last = path
    node = changed
    for key in way:
        node = node[key]
    node[last] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(changed, VERSIONS[0], strict=True)


def test_all_objects_are_in_one_namespace(objects: list[Object]) -> None:
    assert {found["metadata"].get("namespace") for found in objects if found["kind"] != "Namespace"} == {"barstorm"}
    assert set(of_kind(objects, "Namespace")) == {"barstorm"}


def test_every_file_is_part_of_the_kustomization() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in KUBERNETES.iterdir() if path.name != "kustomization.yaml")


def test_every_variable_is_a_setting_or_one_of_the_object_store(objects: list[Object]) -> None:
    for name in containers(objects):
        values = environ(objects, name)
        assert set(values) <= SETTINGS | OTHERS | REFERRED_TO, name
        settings = Settings.from_env(values)
        assert settings.require_keys
        assert not settings.is_sqlite
        assert settings.redis_url
        assert settings.artifacts_url


def test_every_command_is_one_of_barstorm(objects: list[Object]) -> None:
    commands = {name: _parser().parse_args(container["args"]) for name, container in containers(objects).items()}
    assert (commands["barstorm-bursts"].burst, commands["barstorm-bursts"].priorities) == (True, "low")
    # Without a number, a worker starts one process for each core of its node.
    assert (commands["barstorm-workers"].workers, commands["barstorm-bursts"].workers) == (1, 1)


def test_every_reference_to_a_secret_or_a_setting_leads_somewhere(objects: list[Object]) -> None:
    settings = of_kind(objects, "ConfigMap")
    documented = {
        (name, key)
        for name, keys in re.findall(r"create secret generic (\S+) --namespace barstorm((?:\s|\\|--from-file=\S+)*)", PAGE)
        for key in re.findall(r"--from-file=(\S+)", keys)
    }
    used = set()
    for container in containers(objects).values():
        assert container["envFrom"] == [{"configMapRef": {"name": "barstorm"}}]
        for source in (given["valueFrom"] for given in container["env"] if "valueFrom" in given):
            if reference := source.get("secretKeyRef"):
                used.add((reference["name"], reference["key"]))
            elif reference := source.get("configMapKeyRef"):
                assert reference["key"] in settings[reference["name"]]["data"]
    for found in of_kind(objects, "TriggerAuthentication").values():
        used |= {(reference["name"], reference["key"]) for reference in found["spec"]["secretTargetRef"]}
    assert used == documented
    assert not of_kind(objects, "Secret")


def test_every_selector_finds_its_pods(objects: list[Object]) -> None:
    labels = {name: set(pod["metadata"]["labels"].items()) for name, pod in pods(objects).items()}

    def found_by(selector: Object) -> set[str]:
        return {name for name, of_pod in labels.items() if set(selector.items()) <= of_pod}

    for kind in ("Deployment", "PodDisruptionBudget"):
        for name, found in of_kind(objects, kind).items():
            assert found_by(found["spec"]["selector"]["matchLabels"]) == {name}
    assert found_by(of_kind(objects, "Service")["barstorm-api"]["spec"]["selector"]) == {"barstorm-api"}
    policies = of_kind(objects, "NetworkPolicy")
    assert found_by(policies["barstorm"]["spec"]["podSelector"]["matchLabels"]) == set(labels)
    assert found_by(policies["barstorm-api"]["spec"]["podSelector"]["matchLabels"]) == {"barstorm-api"}
    for name, pod in pods(objects).items():
        for spread in pod["spec"].get("topologySpreadConstraints", ()):
            assert found_by(spread["labelSelector"]["matchLabels"]) == {name}
    (autoscaler,) = of_kind(objects, "HorizontalPodAutoscaler").values()
    assert autoscaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "barstorm-api"}
    assert all("replicas" not in found["spec"] for found in of_kind(objects, "Deployment").values())


def test_the_network_policies_name_ports_that_are_used(objects: list[Object]) -> None:
    ports = {port["name"]: port["containerPort"] for port in containers(objects)["barstorm-api"]["ports"]}
    (service_port,) = of_kind(objects, "Service")["barstorm-api"]["spec"]["ports"]
    (rule,) = of_kind(objects, "NetworkPolicy")["barstorm-api"]["spec"]["ingress"]
    assert {service_port["targetPort"], *(port["port"] for port in rule["ports"])} == {"http"} == set(ports)
    assert (service_port["port"], ports["http"], _parser().parse_args(["api"]).port) == (8000, 8000, 8000)
    assert of_kind(objects, "NetworkPolicy")["barstorm"]["spec"]["ingress"] == []


def test_every_pod_has_few_rights_and_limits(objects: list[Object]) -> None:
    for name, container in containers(objects).items():
        pod = pods(objects)[name]["spec"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = {volume["name"] for volume in pod["volumes"] if volume["emptyDir"]["sizeLimit"]}
        assert {mount["mountPath"]: mount["name"] in writable for mount in container["volumeMounts"]} == {"/data": True, "/tmp": True}
        resources = container["resources"]
        assert bytes_of(resources["requests"]["memory"]) <= bytes_of(resources["limits"]["memory"])
        assert resources["requests"]["cpu"]
        assert resources["limits"]["cpu"]


def test_limits_leave_room_for_what_the_settings_allow(objects: list[Object]) -> None:
    settings = Settings.from_env(environ(objects, "barstorm-api"))
    limit = bytes_of(containers(objects)["barstorm-api"]["resources"]["limits"]["memory"])
    assert limit > 4 * settings.work_processes * settings.work_memory_mb * 1e6
    for name, pod in pods(objects).items():
        (data,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "data")
        assert {"name": "data", "mountPath": environ(objects, name)["TMPDIR"]} in containers(objects)[name]["volumeMounts"]
        if name != "barstorm-migrate":
            assert bytes_of(data["emptyDir"]["sizeLimit"]) > (settings.columns_cache_mb + settings.upload_mb) * 1e6


def test_workers_have_time_to_drain(objects: list[Object]) -> None:
    for name in ("barstorm-workers", "barstorm-bursts"):
        drain_s = Settings.from_env(environ(objects, name)).drain_s
        assert pods(objects)[name]["spec"]["terminationGracePeriodSeconds"] > drain_s + REQUEUE_S + 5


def test_probes_ask_paths_that_need_no_key(objects: list[Object], stack: Stack) -> None:
    container = containers(objects)["barstorm-api"]
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    for probe in probes.values():
        assert httpx.get(stack.url + probe["path"], headers={"host": "10.0.0.7:8000"}).status_code == 200


def test_the_names_of_the_api_are_allowed_hosts(objects: list[Object]) -> None:
    hosts = Settings.from_env(environ(objects, "barstorm-api")).allowed_hosts.split(",")
    assert hosts == ["10.0.0.7", "barstorm-api", "barstorm-api.barstorm.svc", "barstorm.example.com"]
    assert httpx.URL(METRICS_URL).host in hosts


def triggers(objects: list[Object]) -> Iterator[Object]:
    for kind in ("ScaledObject", "ScaledJob"):
        for found in of_kind(objects, kind).values():
            yield from found["spec"]["triggers"]


def test_the_scaled_object_follows_ready_jobs_and_their_age(objects: list[Object]) -> None:
    found = of_kind(objects, "ScaledObject")["barstorm-workers"]
    assert (found["apiVersion"], set(found["spec"])) == (
        "keda.sh/v1alpha1",
        {"scaleTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount", "advanced", "triggers"},
    )
    spec = found["spec"]
    assert spec["scaleTargetRef"]["name"] in of_kind(objects, "Deployment")
    assert (spec["pollingInterval"], spec["minReplicaCount"], spec["maxReplicaCount"]) == (10, 1, 20)
    concurrency = Settings.from_env(environ(objects, "barstorm-workers")).concurrency
    assert spec["advanced"] == {
        "scalingModifiers": {"formula": "age >= 5 ? ready + running : running", "target": str(concurrency), "metricType": "AverageValue"},
        "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}}},
    }
    assert [(trigger["name"], trigger["metadata"]["valueLocation"]) for trigger in spec["triggers"]] == [
        ("ready", 'barstorm_queue_jobs{state="ready"}'),
        ("running", 'barstorm_queue_jobs{state="running"}'),
        ("age", "barstorm_queue_oldest_ready_seconds"),
    ]


def test_the_scaled_job_starts_when_a_job_has_waited_long(objects: list[Object]) -> None:
    found = of_kind(objects, "ScaledJob")["barstorm-bursts"]
    assert (found["apiVersion"], {key: value for key, value in found["spec"].items() if key not in ("triggers", "jobTargetRef")}) == (
        "keda.sh/v1alpha1",
        {
            "pollingInterval": 30,
            "minReplicaCount": 0,
            "maxReplicaCount": 10,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "rollout": {"strategy": "gradual"},
            "scalingStrategy": {"strategy": "default"},
        },
    )
    (trigger,) = found["spec"]["triggers"]
    metadata = trigger["metadata"]
    assert (metadata["targetValue"], metadata["activationTargetValue"]) == ("120", "120")
    assert found["spec"]["jobTargetRef"]["template"]["spec"]["restartPolicy"] == "Never"


def test_every_trigger_reads_a_metric_that_exists_with_a_key(objects: list[Object], exposition: str) -> None:
    """As KEDA does: the location is a selector of one series."""
    samples = [sample for family in text_string_to_metric_families(exposition) for sample in family.samples]
    authentications = of_kind(objects, "TriggerAuthentication")
    found = list(triggers(objects))
    assert len(found) == 4
    for trigger in found:
        assert set(trigger) - {"name"} == {"type", "metadata", "authenticationRef"}
        assert trigger["type"] == "metrics-api"
        metadata = trigger["metadata"]
        assert set(metadata) - {"activationTargetValue"} == {"url", "format", "valueLocation", "targetValue", "authMode"}
        assert (metadata["url"], metadata["format"], metadata["authMode"]) == (METRICS_URL, "prometheus", "bearer")
        assert all(isinstance(value, str) for value in metadata.values())
        selector = promql_parser.parse(metadata["valueLocation"])
        labels = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        assert len([sample for sample in samples if sample.name == selector.name and labels.items() <= sample.labels.items()]) == 1
        reference = authentications[trigger["authenticationRef"]["name"]]["spec"]
        assert [target["parameter"] for target in reference["secretTargetRef"]] == ["token"]


def test_a_key_that_only_reads_is_enough_for_the_metrics(stack: Stack) -> None:
    assert "barstorm keys create metrics --scope read" in PAGE
    with stack.client() as client:
        created = client.post("/api/v1/keys", json={"name": "metrics", "scope": "read"}).raise_for_status().json()
    headers = {"authorization": f"Bearer {created['secret']}"}
    assert "barstorm_queue_oldest_ready_seconds" in httpx.get(f"{stack.url}/metrics", headers=headers).raise_for_status().text


def test_the_overlay_of_the_page_names_image_and_settings(
    render: Callable[[Path], list[Object]], objects: list[Object], tmp_path: Path
) -> None:
    version = json.loads(subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, timeout=60).stdout)
    if "kustomizeVersion" not in version:
        pytest.skip(f"this kubectl can't read overlays: {version['clientVersion']['gitVersion']} has a kustomize of 2019")
    (tmp_path / "main").symlink_to(ROOT)
    folder = tmp_path / "overlay"
    folder.mkdir()
    for name, text in re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", PAGE, re.DOTALL):
        (folder / name).write_text(text)
    overlaid = render(folder)
    assert {container["image"] for container in containers(overlaid).values()} == {"registry.example.com/barstorm:1"}
    settings = of_kind(overlaid, "ConfigMap")["barstorm"]["data"]
    assert settings == of_kind(objects, "ConfigMap")["barstorm"]["data"] | {
        "BARSTORM_ARTIFACTS_URL": "s3://bucket-of-yours",
        "PUBLIC_HOSTS": "barstorm.example.com",
    }


def test_the_labels_of_the_page_apply_the_migration_before_the_rest(objects: list[Object]) -> None:
    match = re.search(r"app\.kubernetes\.io/component notin \(([\w, ]+)\)", PAGE)
    assert match
    later = set(match[1].split(", "))
    first = {found["kind"] for found in objects if found["metadata"].get("labels", {}).get("app.kubernetes.io/component") not in later}
    assert first == {"Namespace", "ConfigMap", "NetworkPolicy", "Job", "TriggerAuthentication"}
