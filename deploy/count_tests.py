"""Counts the tests in JUnit XML reports, as GoogleTest and pytest write them.

Prints `PASSED FAILED SKIPPED`. A report that is missing or cut short counts nothing: the one who asks
knows that its suite failed.
"""

import sys
import xml.etree.ElementTree as ElementTree


def main():
    passed = failed = skipped = 0
    for path in sys.argv[1:]:
        try:
            report = ElementTree.parse(path)
        except (OSError, ElementTree.ParseError):
            continue
        for case in report.iter("testcase"):
            if case.get("status") == "notrun":  # GoogleTest lists what a filter left out.
                continue
            outcomes = {child.tag for child in case}
            if outcomes & {"failure", "error"}:
                failed += 1
            elif "skipped" in outcomes:
                skipped += 1
            else:
                passed += 1
    print(passed, failed, skipped)


main()
