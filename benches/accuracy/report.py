"""The Markdown of a comparison, and its place between two markers of a file."""

import os
import platform

import numpy as np

from cells import OURS, versions
from peers import PEERS, about
from scores import CHURN, VALUES, ranks

BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
MARKS = {"worse": " ▼", "better": " ▲", "tie": " =", None: ""}
KINDS = (("Churn", ("churn",), CHURN), ("Value and engagement", ("ltv", "engagement"), VALUES))
BYTES_PER_MB = 1e6


def markdown(results, skipped, command, ours):
    """All tables. `skipped`: tasks whose tables were not there; `ours`: the version of `retain`, or None."""
    parts = [_preamble(results, skipped, command, ours)]
    for title, kinds, measures in KINDS:
        chosen = [result for result in results if result.kind in kinds]
        if chosen:
            parts += [f"### {title}", _summary(chosen, measures)]
            parts += [table for measure in measures if (table := _figures(chosen, measure))]
            parts += [
                _costs(chosen, "CPU seconds a fit", "cpu_seconds", 1),
                _costs(chosen, "peak memory, MB", "peak_bytes", BYTES_PER_MB),
            ]
    return "\n\n".join(parts) + "\n"


def put(path, text):
    """Replaces what stands between the markers of a file, and keeps all else; a file without markers gets them at its end."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN not in old or END not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n".lstrip()
    before, rest = old.split(BEGIN, 1)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def models_of(results):
    """The models in the order of the report: `retain` first."""
    seen = {model for result in results for model in [*result.costs, *result.failures]}
    return [model for model in (OURS, *PEERS) if model in seen]


def _preamble(results, skipped, command, ours):
    packages = {package for model in models_of(results) if model != OURS for package in versions(model)}
    threads = sorted({cost["threads"] for result in results for costs in result.costs.values() for cost in costs})
    tables = {result.made_by for result in results}
    lines = [
        f"`{command}`, {', '.join([ours] * bool(ours) + sorted(packages))}; {os.cpu_count()} cores ({platform.machine()}),",
        f"threads a fit: {' or '.join(map(str, threads))}. Tables: {'; '.join(sorted(tables))}.",
        "",
        "Figures are of all held-out rows together. ▼: the model is worse than `retain`, ▲: better, =: a tie, by the 95 % interval of the",
        "paired difference over 1,000 bootstrap samples of customers. Bold: the best figure. Controls have nothing to find and no ranks.",
        "A fit is training and predicting the test rows; for `retain` the whole commands `train` and `score`, reading included. The memory",
        "of a Python model is that of its process, which has about 150 MB before any data.",
    ]
    if skipped:
        lines += ["", f"Not measured, their tables are not here: {', '.join(skipped)}."]
    failures = [(result.name, model, why) for result in results for model, why in result.failures.items()]
    lines += [""] * bool(failures) + [f"- {task}, {model}: failed, {why}" for task, model, why in failures]
    return "\n".join(lines)


def _summary(results, measures):
    compared = [measure for measure in measures if measure.compared]
    header = [
        "model",
        *(f"mean rank, {measure.title}" for measure in compared),
        "worse / tie / better than `retain`",
        "what it is",
    ]
    counted = [result for result in results if not result.control]
    rows = []
    for model in models_of(results):
        what = "this project" if model == OURS else about(model, results[0].kind)
        mean_ranks = [_mean_rank(counted, measure, model) for measure in compared]
        rows.append([model, *mean_ranks, _counts(counted, compared, model), what])
    return _table(header, rows)


def _mean_rank(results, measure, model):
    found = [ranks(result, measure).get(model) for result in results]
    found = [rank for rank in found if rank is not None]
    return f"{np.mean(found):.2f}" + (f" ({len(found)} tasks)" if len(found) < len(results) else "") if found else "–"


def _counts(results, measures, model):
    verdicts = [result.verdict(measure, model) for result in results for measure in measures]
    counts = [verdicts.count(word) for word in ("worse", "tie", "better")]
    return " / ".join(map(str, counts)) if any(counts) else "–"


def _figures(results, measure):
    models, rows = models_of(results), []
    for result in results:
        figures = {model: result.figures.get((measure.title, model)) for model in models}
        known = [figure for figure in figures.values() if figure is not None]
        if known:
            best = _best(known, measure.sign)
            rows.append([_name(result), *(_cell(result, measure, model, figures[model], best) for model in models)])
    if not rows:
        return ""
    return f"**{measure.title}**{' (least is best)' if measure.sign < 0 else ''}\n\n" + _table(["task", *models], rows)


def _best(figures, sign):
    return max(figures, key=lambda figure: sign * figure if sign else -abs(figure))


def _cell(result, measure, model, figure, best):
    if figure is None:
        return "failed" if model in result.failures else "–"
    text = f"{figure:.{measure.digits}f}"
    return (f"**{text}**" if figure == best else text) + MARKS[result.verdict(measure, model)]


def _costs(results, title, part, unit):
    models = models_of(results)
    rows = [[_name(result), *(_cost(result, model, part, unit) for model in models)] for result in results]
    return f"**{title}**\n\n" + _table(["task", *models], rows)


def _cost(result, model, part, unit):
    costs = result.costs.get(model)
    if not costs:
        return "failed" if model in result.failures else "–"
    values = [cost[part] / unit for cost in costs]
    worst_or_mean = max(values) if part == "peak_bytes" else np.mean(values)
    return f"{worst_or_mean:.0f}" if worst_or_mean >= 10 else f"{worst_or_mean:.1f}"


def _name(result):
    return f"{result.name} ({result.n_rows:,}{', control' if result.control else ''})"


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
