"""Runs a notebook from its first cell in a fresh kernel and fails where a cell fails: `python notebooks/run.py NOTEBOOK [OUTPUT]`.

With OUTPUT the notebook is written there with what its cells printed; the input is never changed."""

import sys

import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
if len(sys.argv) > 2:
    nbformat.write(notebook, sys.argv[2])
print(f"{sys.argv[1]}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells ran")
