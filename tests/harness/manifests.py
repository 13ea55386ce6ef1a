"""The manifests of the fleet, as they are written and as kustomize makes them."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "deploy" / "image"
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE = KUBERNETES / "base"
WITHOUT_KUSTOMIZE = "neither kubectl nor kustomize is on this machine, nor kustomize in .tools/bin"

Manifest = dict[str, Any]


def written(name: str) -> Manifest:
    """A file of the base."""
    manifest: Manifest = yaml.safe_load((BASE / name).read_text())
    return manifest


def builder() -> list[str]:
    """The command that builds a kustomization; empty if there is none."""
    ours = ROOT / ".tools" / "bin" / "kustomize"
    kustomize = str(ours) if ours.exists() else shutil.which("kustomize")
    if kustomize:
        return [kustomize, "build"]
    kubectl = shutil.which("kubectl")
    return [kubectl, "kustomize"] if kubectl else []


def built(directory: Path) -> dict[str, Manifest]:
    """What a kustomization comes to, by kind: of each there is one at most."""
    done = subprocess.run(
        [*builder(), str(directory)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    manifests = list(yaml.safe_load_all(done.stdout))
    by_kind = {manifest["kind"]: manifest for manifest in manifests}
    assert len(by_kind) == len(manifests)
    return by_kind


def container_of(stateful_set: Manifest) -> Manifest:
    """The one container of a pod."""
    [container] = stateful_set["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def image_environment() -> dict[str, str]:
    """The variables that the image brings."""
    text = (IMAGE / "Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    lines = re.findall(r"(?m)^ENV (.*)$", text)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def environment(manifests: Mapping[str, Manifest], pod: str) -> dict[str, str]:
    """What the container of the pod with this name sees."""
    container = container_of(manifests["StatefulSet"])
    [source] = container["envFrom"]
    settings = manifests["ConfigMap"]
    assert source["configMapRef"]["name"] == settings["metadata"]["name"]
    of_pod = {
        variable["name"]: {"metadata.name": pod}[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for variable in container["env"]
    }
    data: dict[str, str] = settings["data"]
    return image_environment() | data | of_pod


def mounted(stateful_set: Manifest, root: Path) -> dict[str, Path]:
    """Lay out below ``root`` what is mounted; the places by their paths in the container."""
    volumes = {each["name"]: each for each in stateful_set["spec"]["template"]["spec"]["volumes"]}
    places = {}
    for mount in container_of(stateful_set)["volumeMounts"]:
        place = root / mount["mountPath"].lstrip("/")
        place.mkdir(parents=True)
        places[mount["mountPath"]] = place
        for name in _files(volumes[mount["name"]]):
            (place / name).touch()
    return places


def _files(volume: Manifest) -> Iterator[str]:
    for item in volume.get("secret", {}).get("items", ()):
        yield item["path"]
