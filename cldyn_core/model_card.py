"""The model card of the weights that come with the package, from their manifests alone, so that it cannot say more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cldyn_core.registry import WeightFile
from cldyn_core.report.markdown import aligned

_HEAD = """# Model card

Generated from the manifests by `cldyn weights card > doc/model_card.md`; do not edit. How the figures were measured and
what they are beside: [results.md](results.md). To choose, check and replace weights: [weights.md](weights.md)."""


def model_card(files: Sequence[WeightFile]) -> str:
    """Markdown: data, figures, limits and recipe of every file."""
    total = sum(file.path.stat().st_size for file in files) / 1e6
    blocks = [_HEAD, f"{len(files)} files, {total:.1f} MB together."]
    for file in files:
        blocks += _blocks(file)
    return "\n\n".join(blocks) + "\n"


def _blocks(file: WeightFile) -> Iterator[str]:
    record, size = file.record, file.path.stat().st_size / 1e6
    yield f"## {file.variant}: {file.path.stem}"
    yield f"{file.manifest['kind']}, {file.model}, {size:.1f} MB, sha256 `{file.short_sha256}...`"
    if record.about:
        yield record.about
    yield aligned(
        ["data set", "pairs", "its license"],
        [[each.name, "-" if each.pairs is None else str(each.pairs), each.license or "-"] for each in record.data],
        right=False,
    )
    yield aligned(["held-out figure", "value"], [[name, f"{value:.4g}"] for name, value in record.metrics.items()])
    yield f"**Limits.** {record.limits or 'Not stated.'}"
    yield f"**License of the weights.** {record.license or 'Not stated.'}"
    yield f"**Recipe.** {', '.join(f'{name} {value}' for name, value in record.recipe.items() if value != [])}"
