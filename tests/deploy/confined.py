"""Runs a program as the chart's pods run it: as a user without rights, over a root that is read-only."""

import functools
import os
import re
import shlex
import subprocess
import unittest

from programs import path_of
from repository import HERE, ROOT

# Where the programs lie for whoever has no rights in the folders above them.
PROGRAMS = "/mnt"

# What becomes of this machine's mounts, before rights are given up. Those of the kernel's own stay.
ROOT_IS_READ_ONLY = r"""
awk '{ print $5 }' /proc/self/mountinfo | sort -u | while read -r place; do
  case "$place" in
    /proc | /proc/* | /sys | /sys/* | /dev | /dev/* | PROGRAMS/*) ;;
    *) case " $WRITABLE " in *" $place "*) ;; *) mount -o remount,bind,ro "$(printf '%b' "$place")" ;; esac ;;
  esac
done
""".replace("PROGRAMS", PROGRAMS)


def pod_of(rendered, name: str) -> dict:
    """The spec of the one pod of this name."""
    [spec] = [pod["spec"] for place, pod in rendered.pods() if place == name]
    return spec


def user_of(context: dict) -> str:
    """The user: the pod's, else the image's."""
    if "runAsUser" in context:
        return str(context["runAsUser"])
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    return re.search(r"^USER (\d+)", text, re.MULTILINE)[1]


def writable(pod: dict) -> dict[str, str]:
    """Where the pod may write, and how much: the folders that come with it."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    found = {}
    for mount in pod["containers"][0]["volumeMounts"]:
        folder = volumes[mount["name"]].get("emptyDir")
        if folder is not None and not mount.get("readOnly"):
            found[mount["mountPath"]] = folder.get("sizeLimit", "64Mi").removesuffix("i").lower()
    return found


def prepared(pod: dict) -> list[str]:
    """What makes a pod's surroundings and then becomes the program that follows it."""
    container = pod["containers"][0]
    context = {**pod["securityContext"], **container["securityContext"]}
    folders = {shlex.quote(place): size for place, size in writable(pod).items()}
    steps = ["set -eu", "mount --make-rprivate /"]
    steps.append(f"mount --bind {shlex.quote(str(path_of('flowmill').parent))} {PROGRAMS}")
    steps += [f"mount -t tmpfs -o size={size},mode=1777 scratch {place}" for place, size in folders.items()]
    steps.append("mount -t proc proc /proc")
    if context["readOnlyRootFilesystem"]:
        steps.append(f"WRITABLE={shlex.quote(' '.join(folders))}{ROOT_IS_READ_ONLY}")
    user = user_of(context)
    become = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
    for right in context["capabilities"]["drop"]:
        right = "all" if right == "ALL" else right.lower()
        become += ["--inh-caps", f"-{right}", "--bounding-set", f"-{right}"]
    if not context["allowPrivilegeEscalation"]:
        become.append("--no-new-privs")
    become += ["env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin"]
    if context["seccompProfile"]["type"] == "RuntimeDefault":
        # read before there is no way to it any more
        script = (HERE / "seccomp.py").read_text(encoding="utf-8")
        become += ["python3", "-c", script]
    steps.append(f'cd {min(folders)}; exec {shlex.join(become)} "$@"')
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "sh", "-c", "\n".join(steps), "pod"]


def run(pod: dict, *command: str, given: str = "") -> subprocess.CompletedProcess:
    """Runs a command in the pod's place. Programs of ours lie in PROGRAMS."""
    return subprocess.run(
        [*as_root(), *prepared(pod), *command], input=given, capture_output=True, text=True, timeout=120,
        check=False,
    )


@functools.cache
def as_root() -> list[str]:
    """What makes root of whoever tests: only root can lay out a pod's surroundings."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "--non-interactive"]
    try:
        if subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0:
            return sudo
    except FileNotFoundError:
        pass
    raise unittest.TestCase.failureException(
        "only root can give a program the rights of a pod: run these tests as root, or where sudo asks for no password"
    )
