"""`cldyn weights`: list, verify and import weight files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cldyn_core.checkpoint import BUNDLED, WeightsError, read_manifest, read_tensors, save_weights
from cldyn_core.reference import model_from_reference, read_reference


def add_weights_commands(commands: Any) -> None:
    """Add `weights list | verify | import` to the sub-commands of a parser."""
    actions = commands.add_parser("weights", help="list, verify and import weights").add_subparsers(required=True)
    actions.add_parser("list", help="the weights that come with the package").set_defaults(run=_list)

    verify = actions.add_parser("verify", help="check files against their manifests; status 1 if one is bad")
    verify.add_argument("files", nargs="*", type=Path, help=".safetensors files (default: the bundled ones)")
    verify.set_defaults(run=_verify)

    convert = actions.add_parser("import", help="convert checkpoints of the reference implementation to safetensors")
    convert.add_argument("fusion", type=Path, help="its .pth with the fusion network {'net': ...}, or with everything")
    convert.add_argument("compensation", type=Path, nargs="?", help="its .pth with {'rsc_ir', 'rsc_vi', 'bvb'}")
    convert.add_argument("-o", "--out", type=Path, required=True, help="the .safetensors to write")
    convert.set_defaults(run=_import)


def _list(_args: argparse.Namespace) -> int:
    for path in sorted(BUNDLED.glob("*.safetensors")):
        manifest = read_manifest(path)
        size = path.stat().st_size / 1e6
        digest, architecture = manifest["sha256"][:12], manifest["architecture"]
        print(f"{path.stem:12} {manifest['kind']:10} {size:5.1f} MB  sha256 {digest}  {architecture}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    bad = 0
    for path in args.files or sorted(BUNDLED.glob("*.safetensors")):
        try:
            tensors, manifest = read_tensors(path)
            print(f"ok   {path}: {manifest['kind']}, {len(tensors)} tensors")
        except (WeightsError, FileNotFoundError) as error:
            bad += 1
            print(f"BAD  {error}")
    return 1 if bad else 0


def _import(args: argparse.Namespace) -> int:
    model = model_from_reference(read_reference(args.fusion, args.compensation))
    save_weights(model, args.out, {"imported_from": [p.name for p in (args.fusion, args.compensation) if p]})
    print(f"{args.out}: {model.architecture}")
    return 0
