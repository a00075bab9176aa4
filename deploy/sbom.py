#!/usr/bin/env python3
"""Prints what the release is made of, as CycloneDX 1.5 in JSON: every crate that is linked into the programs
of the image, and what the image installs beside them. The same commit gives the same text.

    python3 deploy/sbom.py > flowmill.cdx.json
    python3 deploy/sbom.py --target aarch64-unknown-linux-gnu

Packages, features and what is installed are read from deploy/Dockerfile, checksums from Cargo.lock. Crates that
only build others (build scripts, macros) or test them are left out. Versions of Debian's packages are those of
the day on which an image is built: here they have none, and a scan of the image tells them.
"""

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"
DEBIAN = "debian-12"


def image():
    """What the Dockerfile builds and installs: arguments for cargo, packages of Debian, the image below."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    build = re.search(r"cargo build --release --locked\s+(.*?)\s+&&", text)
    installed = re.search(r"apt-get install -y --no-install-recommends\s+(.*?)\s+&&", text)
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    if not build or not installed or not bases:
        sys.exit("deploy/Dockerfile: no line that builds, installs or begins is known")
    return build[1].split(), sorted(installed[1].split()), bases[-1]


def cargo(*arguments):
    done = subprocess.run(["cargo", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cargo {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def linked(build, target):
    """The crates that are linked, each with those that it uses, and the programs' own crates."""
    lines = cargo("tree", "--locked", "--edges", "normal,no-proc-macro", "--target", target,
                  "--prefix", "depth", "--format", " {p}", *build)
    uses, path, roots = {}, [], set()
    for line in filter(None, lines.splitlines()):
        depth, name, version = re.match(r"(\d+) (\S+) v(\S+)", line).groups()
        crate = (name, version)
        uses.setdefault(crate, set())
        path = [*path[: int(depth)], crate]
        if len(path) > 1:
            uses[path[-2]].add(crate)
        else:
            roots.add(crate)
    return uses, roots


def checksums():
    """The digests of Cargo.lock; crates of this repository have none."""
    lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    package = r'^name = "(.*)"\nversion = "(.*)"\n(?:source = ".*"\n)?(?:checksum = "(.*)"\n)?'
    return {(name, version): digest for name, version, digest in re.findall(package, lock, re.MULTILINE)}


def reference(crate):
    name, version = crate
    return f"pkg:cargo/{name}@{version}"


def component(crate, package, digest):
    name, version = crate
    found = {"type": "library", "bom-ref": reference(crate), "name": name, "version": version}
    if package["description"]:
        found["description"] = " ".join(package["description"].split())
    if digest:
        found["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if package["license"]:
        # an old way to say it
        found["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    found["purl"] = reference(crate)
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def document(target):
    build, installed, base = image()
    uses, roots = linked(build, target)
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
    digests = checksums()
    components = [component(crate, packages[crate], digests.get(crate)) for crate in sorted(uses)]
    for name in installed:
        purl = f"pkg:deb/debian/{name}?distro={DEBIAN}"
        components.append({"type": "library", "bom-ref": purl, "name": name, "purl": purl})
    name, tag = base.split(":")
    components.append({"type": "operating-system", "bom-ref": f"pkg:docker/{name}@{tag}", "name": name,
                       "version": tag, "purl": f"pkg:docker/{name}@{tag}"})
    version = packages[min(roots)]["version"]
    whole = f"pkg:generic/flowmill@{version}"
    others = [found["bom-ref"] for found in components[len(uses):]]
    depend = [{"ref": whole, "dependsOn": [*map(reference, sorted(roots)), *others]}]
    for crate in sorted(uses):
        depend.append({"ref": reference(crate), "dependsOn": [*map(reference, sorted(uses[crate]))]})
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": whole, "name": "flowmill", "version": version,
                          "purl": whole, "licenses": [{"expression": packages[min(roots)]["license"]}]},
            "properties": [{"name": "flowmill:target", "value": target}],
        },
        "components": components,
        "dependencies": depend,
    }
    # no time and no chance: the number follows from all the rest
    digest = hashlib.sha256(json.dumps(bom, sort_keys=True).encode()).hexdigest()
    return {**bom, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}"}


def main():
    parser = argparse.ArgumentParser(description="Prints what the release is made of (CycloneDX 1.5).")
    parser.add_argument("--target", default=TARGET, help=f"for which machines; {TARGET} when missing")
    print(json.dumps(document(parser.parse_args().target), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
