#!/usr/bin/env bash
# The rooms of the house, and which may include which: the table in ARCHITECTURE.md ("What is where")
# against what the files include.
set -euo pipefail
cd "$(dirname "$0")/.."
exec /usr/bin/python3 - <<'PYTHON'
import graphlib
import pathlib
import re
import sys

# By folder, those that it may include: the table's first and last column.
allowed = {}
for line in pathlib.Path('ARCHITECTURE.md').read_text().splitlines():
    cells = [cell.strip() for cell in line.split('|')]
    if len(cells) == 5 and re.fullmatch(r'`[a-z_/]+/`', cells[1]):
        allowed[cells[1].strip('`/')] = {folder.strip('/') for folder in re.findall(r'`([a-z_/]+)`', cells[3])}

broken = []
included = {folder: set() for folder in allowed}
tops = {folder.split('/')[0] for folder in allowed}
sources = [file for top in sorted(tops) for file in pathlib.Path(top).rglob('*.*') if file.suffix in ('.h', '.cc')]
for file in sources:
    folder = str(file.parent)
    if folder not in allowed:
        broken.append(f'{file}: {folder}/ is not in the table.')
        continue
    for include in re.findall(r'^#include "([^"]+)"', file.read_text(), re.MULTILINE):
        other = str(pathlib.PurePath(include).parent)
        if other == folder or other.split('/')[0] not in tops:
            continue
        included[folder].add(other)
        if other not in allowed[folder]:
            broken.append(f'{file} includes "{include}", which the table does not allow {folder}/.')
for folder, others in allowed.items():
    if not pathlib.Path(folder).is_dir():
        broken.append(f'The table has {folder}/, which is not there.')
    for other in sorted(others - included[folder]):
        broken.append(f'The table allows {folder}/ to include {other}/, which it does not.')
try:
    list(graphlib.TopologicalSorter(allowed).static_order())
except graphlib.CycleError as error:
    broken.append('The table goes round in a circle: ' + ' → '.join(error.args[1]))
if len(allowed) < 2 or len(sources) < 2:
    broken.append('ARCHITECTURE.md has no table of folders, or they have no files.')
print('\n'.join(broken))
sys.exit(bool(broken))
PYTHON
