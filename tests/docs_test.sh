#!/usr/bin/env bash
# The documents lead somewhere: every link among them, every heading that a link names, and every
# path of the tree that they mention is there.
set -euo pipefail
cd "$(dirname "$0")/.."
exec /usr/bin/python3 - <<'PYTHON'
import pathlib
import re
import sys

folders = {folder.name for folder in pathlib.Path().iterdir() if folder.is_dir()}


def headings(page):
    for heading in re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE):
        yield re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


broken = []
pages = [*pathlib.Path().glob('*.md'), *pathlib.Path('docs').rglob('*.md'),
         *pathlib.Path('proto').glob('*.md'), *pathlib.Path('third_party').glob('*.md')]
for page in pages:
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        path, _, heading = link.partition('#')
        target = page.parent / path if path else page
        if '://' in link:
            continue
        if not target.exists() or heading and heading not in headings(target):
            broken.append(f'{page} links to {link}, which is not there.')
    for path in re.findall(r'`([\w.-]+/[\w./-]*)`', text):
        if path.split('/')[0] in folders and not pathlib.Path(path).exists():
            broken.append(f'{page} mentions {path}, which is not there.')
if len(pages) < 2:
    broken.append('There are no documents.')
print('\n'.join(broken))
sys.exit(bool(broken))
PYTHON
