#!/usr/bin/env bash
# The documents lead somewhere: every link among them, every heading that a link names, and every
# path of the tree that they mention is there; so is every test that shows a promise, or that a
# defect is gone.
set -euo pipefail
cd "$(dirname "$0")/.."
exec /usr/bin/python3 - <<'PYTHON'
import fnmatch
import pathlib
import re
import sys

# Where builds go has what was built.
folders = {folder.name for folder in pathlib.Path().iterdir() if folder.is_dir()} - {'build'}


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
suites = {f'{suite}.{test}' for path in pathlib.Path('tests').rglob('*.cc')
          for suite, test in re.findall(r'^TEST\w*\(\s*(\w+),\s*(\w+)\)', path.read_text(), re.MULTILINE)}
shown = 0
for page in map(pathlib.Path, ['docs/robustness.md', 'docs/track-record.md']):
    text = page.read_text()
    for tests in re.findall(r"`(?:unit|pg|client) ([\w.]+)`|--gtest_filter='?([\w.*:]+)", text):
        for test in ''.join(tests).split(':'):
            shown += 1
            if not fnmatch.filter(suites, test):
                broken.append(f'{page} names the test {test}, which is not there.')
    for file, test in re.findall(r'\b(?:e2e |tests/e2e/)(test_\w+\.py)(?:::(\w+))?', text):
        shown += 1
        path = pathlib.Path('tests/e2e', file)
        if not path.exists() or test and f'def {test}(' not in path.read_text():
            broken.append(f'{page} names {file} {test}, which is not there.')
if len(suites) < 2 or shown < 2:
    broken.append('No tests were found, or none are named.')
if len(pages) < 2:
    broken.append('There are no documents.')
print('\n'.join(broken))
sys.exit(bool(broken))
PYTHON
