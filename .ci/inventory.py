"""Completes an SBOM of cargo-cyclonedx, and writes the licences of what is in it.

inventory.py SBOM PARTS COMPLETED LICENCES

PARTS, which build.sh leaves, tells what is linked in and is no crate: a line
for each with name, version, SPDX licence and the file with the licence's text.
"""

import json
import pathlib
import subprocess
import sys

LICENCE_FILES = ("LICEN[CS]E*", "COPYING*", "COPYRIGHT*", "NOTICE*")


def main(sbom, parts, completed, licences):
    bom = json.loads(pathlib.Path(sbom).read_text())
    lines = [line.split("\t") for line in pathlib.Path(parts).read_text().splitlines()]
    own = bom["metadata"]["component"]
    # cargo names it after the folder it is built in.
    text = json.dumps(bom).replace(own["bom-ref"], f"runsd@{own['version']}")
    bom = json.loads(text)
    own = bom["metadata"]["component"]
    own["purl"] = f"pkg:generic/runsd@{own['version']}"
    own.pop("components", None)
    for name, version, licence, _ in lines:
        ref = f"{name}@{version}"
        bom["components"].append(
            {
                "type": "library",
                "bom-ref": ref,
                "name": name,
                "version": version,
                "scope": "required",
                "licenses": [{"expression": licence}],
                "purl": f"pkg:generic/{name}@{version}",
            }
        )
        bom["dependencies"].append({"ref": ref})
        for dependency in bom["dependencies"]:
            if dependency["ref"] == own["bom-ref"]:
                dependency.setdefault("dependsOn", []).append(ref)
    pathlib.Path(completed).write_text(json.dumps(bom, indent=2) + "\n")
    pathlib.Path(licences).write_text(texts(bom, lines))


def texts(bom, parts):
    """Each component with its licence, then each text once, with whose it is."""
    folders = crate_folders()
    part_files = {(name, version): [pathlib.Path(file)] for name, version, _, file in parts}
    whose = {}
    table = [(bom["metadata"]["component"], [pathlib.Path("LICENSE")])]
    for component in bom["components"]:
        key = component["name"], component["version"]
        files = part_files.get(key) or licence_files(folders[key])
        if not files:
            sys.exit(f"inventory: there is no licence text in {folders[key]}")
        table.append((component, files))
    heads = []
    for component, files in table:
        title = f"{component['name']} {component['version']}"
        heads.append(f"{title}: {component['licenses'][0]['expression']}")
        for file in files:
            whose.setdefault(file.read_text().strip(), []).append(title)
    blocks = [f"{'=' * 72}\n{', '.join(names)}\n\n{text}\n" for text, names in whose.items()]
    return "What is linked into runsd, and under which licences\n\n" + "\n".join(heads) + "\n\n" + "\n".join(blocks)


def licence_files(folder):
    return sorted({file for pattern in LICENCE_FILES for file in folder.glob(pattern) if file.is_file()})


def crate_folders():
    run = ["./build.sh", "--cargo", "metadata", "--locked", "--format-version", "1"]
    metadata = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
    packages = metadata["packages"]
    return {(p["name"], p["version"]): pathlib.Path(p["manifest_path"]).parent for p in packages}


main(*sys.argv[1:])
