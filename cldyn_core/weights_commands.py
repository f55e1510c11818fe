"""`cldyn weights`: list, verify, pack and import weight files, and their model card."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

from cldyn_core import tasks
from cldyn_core.checkpoint import BUNDLED, CLDYN_KIND, WeightsError, bundled_files, save_weights
from cldyn_core.model_card import model_card
from cldyn_core.reference import model_from_reference, read_reference, read_reference_saliency
from cldyn_core.registry import TrainingRecord, WeightFile, pack, verify
from cldyn_core.tasks.saliency import SaliencyNetwork

_COLUMNS = ("variant", "name", "kind", "model", "MB", "sha256", "trained on", "held out", "license")
_SHOWN_DATA_SETS = 3
_SHOWN_LICENSE = 40


def add_weights_commands(commands: Any) -> None:
    """Add `weights list | verify | card | pack | import` to the sub-commands of a parser."""
    actions = commands.add_parser("weights", help="list, verify, pack and import weights").add_subparsers(required=True)
    show = actions.add_parser("list", help="the weights that come with the package")
    show.add_argument("--json", action="store_true", help="their manifests, as JSON")
    show.set_defaults(run=_list)

    check = actions.add_parser("verify", help="check files, their manifests and networks; status 1 if one is bad")
    check.add_argument(
        "files", nargs="*", type=Path, help=".safetensors files (default: all that come with the package)"
    )
    check.set_defaults(run=_verify)

    card = actions.add_parser("card", help="the model card of the weights that come with the package, in Markdown")
    card.set_defaults(run=_card)

    copy = actions.add_parser("pack", help="copy trained weights, smaller or with more in their manifest")
    copy.add_argument("file", type=Path, help="a .safetensors file of any kind")
    copy.add_argument("-o", "--out", type=Path, required=True, help="the .safetensors to write")
    copy.add_argument("--half", action="store_true", help="in half precision (a CLDyN stays float32)")
    copy.add_argument("--record", type=Path, help="a JSON file whose entries go into the manifest's record")
    copy.set_defaults(run=_pack)

    convert = actions.add_parser("import", help="convert checkpoints of the reference implementation to safetensors")
    convert.add_argument(
        "--kind", choices=(CLDYN_KIND, SaliencyNetwork.kind), default=CLDYN_KIND, help="of what network"
    )
    convert.add_argument(
        "file", type=Path, help="its .pth: the fusion network {'net': ...} or everything; or a CTDNet-18"
    )
    convert.add_argument("compensation", type=Path, nargs="?", help="its .pth with {'rsc_ir', 'rsc_vi', 'bvb'}")
    convert.add_argument("-o", "--out", type=Path, required=True, help="the .safetensors to write")
    convert.set_defaults(run=partial(_import, convert))


def _list(args: argparse.Namespace) -> int:
    files = [WeightFile.read(path) for path in bundled_files()]
    if args.json:
        shown = [{"variant": f.variant, "name": f.path.stem, "manifest": f.manifest} for f in files]
        print(json.dumps(shown, indent=2))
        return 0
    sizes = [file.path.stat().st_size / 1e6 for file in files]
    rows = [_row(file, size) for file, size in zip(files, sizes, strict=True)]
    total = ["total", "", "", "", f"{sum(sizes):.1f}", "", "", "", ""]
    print(_aligned([_COLUMNS, *rows, total]))
    return 0


def _row(file: WeightFile, size: float) -> list[str]:
    record = file.record
    text = [file.variant, file.path.stem, file.manifest["kind"], file.model, f"{size:.1f}", file.short_sha256]
    license_text = shorten(record.license, _SHOWN_LICENSE, placeholder=" ...")
    return [*text, _trained_on(record), record.main_metric or "-", license_text or "-"]


def _trained_on(record: TrainingRecord) -> str:
    names = [each.name for each in record.data]
    counts = [each.pairs for each in record.data if each.pairs is not None]
    text = ", ".join(names[:_SHOWN_DATA_SETS]) or "-"
    if len(names) > _SHOWN_DATA_SETS:
        text += f" +{len(names) - _SHOWN_DATA_SETS}"
    return f"{text} ({sum(counts)} pairs)" if counts and len(counts) == len(names) else text


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _verify(args: argparse.Namespace) -> int:
    files, bad = args.files or bundled_files(), 0
    if not files:
        raise WeightsError(f"{BUNDLED}: no weights came with the package. Remedy: install it again, or name files")
    for path in files:
        try:
            print(f"ok   {path}: {verify(path)}")
        except (ValueError, OSError) as error:
            bad += 1
            remedy = (
                "" if "Remedy: " in str(error) else ". Remedy: copy the file and its manifest from where they were made"
            )
            print(f"BAD  {error}{remedy}")
    return 1 if bad else 0


def _card(_args: argparse.Namespace) -> int:
    print(model_card([WeightFile.read(path) for path in bundled_files()]), end="")
    return 0


def _pack(args: argparse.Namespace) -> int:
    record = _read_record(args.record) if args.record else {}
    packed = pack(args.file, args.out, half=args.half, record=record)
    print(f"{args.out}: {packed.summary}, {args.out.stat().st_size / 1e6:.1f} MB")
    if args.half and packed.manifest["kind"] == CLDYN_KIND:
        print("a CLDyN stays float32: it is small, and small differences decide which kernels it chooses")
    if lacking := packed.record.lacks():
        print(f"to come with the package, its record lacks {'; '.join(lacking)}. Remedy: --record")
    return 0


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path}: a record is a JSON object, not a {type(record).__name__}. Remedy: {{...}}")
    return record


def _import(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    record = {"imported_from": [path.name for path in (args.file, args.compensation) if path]}
    if args.kind == CLDYN_KIND:
        save_weights(model_from_reference(read_reference(args.file, args.compensation)), args.out, record)
    elif args.compensation:
        parser.error("a saliency network is one file; the compensation belongs to --kind cldyn")
    else:
        tasks.save_network(read_reference_saliency(args.file), args.out, record)
    print(f"{args.out}: {WeightFile.read(args.out).summary}")
    return 0
