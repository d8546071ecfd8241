"""Counts the tests in JUnit XML reports, as GoogleTest and pytest write them.

Prints `PASSED FAILED SKIPPED`, and then for each test that failed its name and how its failure begins.
A report that is missing or cut short counts nothing: the one who asks knows that its suite failed.
"""

import sys
import xml.etree.ElementTree as ElementTree


LINES_MAX = 12  # Of each failure; the suite's log has it whole.


def failure(case, outcome):
    name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
    said = (outcome.text or outcome.get("message") or "").strip().splitlines()
    return [f"failed: {name}", *("  " + line for line in said[:LINES_MAX])]


def main():
    passed = failed = skipped = 0
    failures = []
    for path in sys.argv[1:]:
        try:
            report = ElementTree.parse(path)
        except (OSError, ElementTree.ParseError):
            continue
        for case in report.iter("testcase"):
            if case.get("status") == "notrun":  # GoogleTest lists what a filter left out.
                continue
            outcomes = {child.tag: child for child in case}
            if (broken := outcomes.get("failure", outcomes.get("error"))) is not None:
                failed += 1
                failures += failure(case, broken)
            elif "skipped" in outcomes:
                skipped += 1
            else:
                passed += 1
    print(passed, failed, skipped)
    for line in failures:
        print(line)


main()
