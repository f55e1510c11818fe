"""`python -m cldyn_ros.demo`: replay pairs through the node, switch tasks, leave a bag, a contact sheet and a
summary.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cldyn_core.image_size import parse_size
from cldyn_ros.demo.examine import examine
from cldyn_ros.demo.folder import check_folder
from cldyn_ros.demo.material import prepare_material
from cldyn_ros.demo.performance import DemoError, perform
from cldyn_ros.demo.sheet import write_sheet
from cldyn_ros.demo.summary import promises, write_summary


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the demo."""
    parser = argparse.ArgumentParser(prog="cldyn_ros.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the results (default: out/demo)")
    parser.add_argument(
        "--pairs", type=Path, help="folder of infrared-visible pairs (default: a rendered street at night)"
    )
    parser.add_argument(
        "--frames", type=int, help="frames to replay (default: 30; on a slow machine what it fuses in three minutes)"
    )
    parser.add_argument(
        "--rate", type=float, default=0.0, help="frames a second (default: what this machine keeps up with)"
    )
    parser.add_argument(
        "--condition", default="night", help="of the rendered street: day, dusk, night, glare, fog, smoke"
    )
    parser.add_argument("--size", type=parse_size, default=(480, 360), metavar="WxH", help="of the rendered street")
    parser.add_argument("--seed", type=int, default=10, help="of the rendered street")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0 when everything that the demo promises happened, 1 when not, 2 when it could not run at all."""
    args = build_parser().parse_args(argv)
    try:
        check_folder(args.out)
        material = prepare_material(args)
        performance = perform(material, args.out)
        evidence = examine(material, performance)
    except (DemoError, ValueError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    write_sheet(evidence, args.out / "contact_sheet.png")
    kept = promises(evidence, performance)
    write_summary(evidence, performance, kept, args.out / "summary.md")
    print((args.out / "summary.md").read_text())
    for name in ("output.mcap", "contact_sheet.png", "summary.md"):
        print(f"  {args.out / name}")
    return 0 if all(promise.kept for promise in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
