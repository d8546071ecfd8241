"""Work that a test does many times at once."""

import concurrent.futures


def in_threads(work, things):
    """Does the work with each of the things, in a thread for each; answers with what each came to, and raises what one
    of them raised."""
    with concurrent.futures.ThreadPoolExecutor(max(1, len(things))) as threads:
        return list(threads.map(work, things))
