"""doc/parameters.md, written from the parameters of params.py: `python -m cldyn_ros.param_page > doc/parameters.md`."""

from __future__ import annotations

from cldyn_ros.param_spec import Spec
from cldyn_ros.params import FIELDS


def markdown() -> str:
    """The text of doc/parameters.md."""
    lines = [
        "# Parameters of /cldyn",
        "",
        "Generated from `cldyn_ros/params.py` by `python -m cldyn_ros.param_page > doc/parameters.md`; do not edit.",
        "",
        "A value that is out of range or of the wrong type is refused with the reason, and nothing changes. "
        "*Live* ones take effect at the next frame pair; the others are read at start.",
        "",
        "| name | default | values | live | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, f in FIELDS.items():
        spec: Spec = f.metadata["spec"]
        values = ", ".join(spec.choices)
        if not values and spec.low is not None and spec.high is not None:
            values = f"{spec.low:.12g} .. {spec.high:.12g}"
        values = values or {bool: "true, false", str: "text"}[type(f.default)]
        live = "no" if spec.fixed else "yes"
        lines.append(f"| `{name}` | `{_show_default(f.default)}` | {values} | {live} | {spec.doc} |")
    return "\n".join(lines) + "\n"


def _show_default(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "[]" if default == () else str(default) or '""'


if __name__ == "__main__":
    print(markdown(), end="")
