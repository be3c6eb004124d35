"""Compiles LightGBM's forests to machine code with lleaves and tl2cgen: `compile.py FOLDER`.

Each gets what it offers for speed, twice: lleaves its defaults, and what its documentation says is for single rows (all trees in
one block, the small code model); tl2cgen its defaults, and annotated branches with quantized thresholds, both with
`-march=native`. Seconds to compile go to `compiled.json`.
"""

import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import lleaves
import numpy as np
import tl2cgen
import treelite


def main():
    folder = Path(sys.argv[1])
    about = json.loads((folder / "about.json").read_text())
    rows = np.fromfile(folder / "rows.bin").reshape(about["n_rows"], about["n_features"])
    seconds = {}
    for n_trees in about["n_trees"]:
        model = folder / f"lightgbm-{n_trees}.txt"
        for name, compiled in [
            ("lleaves", partial(compile_lleaves, model)),
            ("lleaves-single", partial(compile_lleaves, model, fblocksize=n_trees, fcodemodel="small")),
            ("tl2cgen", partial(compile_tl2cgen, model, None)),
            ("tl2cgen-quantized", partial(compile_tl2cgen, model, rows)),
        ]:
            start = time.perf_counter()
            compiled(folder / f"{name}-{n_trees}.so")
            seconds[f"{name}-{n_trees}"] = time.perf_counter() - start
            print(f"{name}, {n_trees} trees: {seconds[f'{name}-{n_trees}']:.0f} s to compile", file=sys.stderr, flush=True)
    (folder / "compiled.json").write_text(json.dumps(seconds))


def compile_lleaves(model: Path, library: Path, **settings):
    """lleaves keeps the object file of its function as a cache; a linker makes it a library."""
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "forest.o"
        lleaves.Model(model_file=model).compile(cache=compiled, raw_score=True, **settings)
        subprocess.run(["cc", "-shared", "-o", library, compiled, "-lm"], check=True)


def compile_tl2cgen(model: Path, rows: np.ndarray | None, library: Path):
    forest = treelite.frontend.load_lightgbm_model(model)
    with tempfile.TemporaryDirectory() as scratch:
        # In parts, which compile faster; what is called is the same.
        params = {"parallel_comp": 8}
        if rows is not None:
            annotation = str(Path(scratch) / "branches.json")
            tl2cgen.annotate_branch(forest, tl2cgen.DMatrix(rows), path=annotation)
            params |= {"annotate_in": annotation, "quantize": 1}
        tl2cgen.export_lib(forest, toolchain="gcc", libpath=library, params=params, options=["-march=native"])


if __name__ == "__main__":
    main()
