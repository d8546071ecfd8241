"""UpdateSession's request, from arguments that say what is to become of what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sessiond import _convert, v1

DOC = """Changes fields of a session, and counters by increments: all of it or nothing.

        Args:
            session_id: The session.
            set_context: Fields of the context to set, by name; the others stay.
            remove_context_keys: Fields of the context to take off.
            set_labels, remove_label_keys, set_references, remove_reference_keys: The same for labels and references.
            context, labels, references: What is to stand there in place of all that does.
            owner_display_name, owner_id, hold: New values. owner_id only while the session is CREATING.
            counter_increments: What to add to counters, by name.
            request_id: For 24 hours the same id and payload again have no second effect; drawn if not given.
            etag: The etag the session must still have; empty for any.
            actor: The end user on whose behalf the call is made, for the audit.
            reason: Why, for the audit.
            timeout: How many seconds the call may take, retries included; the client's if it is not given.
        """


def path(field: str, key: str) -> str:
    """`context.site_name`, or labels.`a.b` for a key with other characters than these."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", key):
        return f"{field}.{key}"
    if "`" in key:
        raise ValueError(f"{key!r} cannot be named in a mask, because of its backtick. Give all of {field} instead.")
    return f"{field}.`{key}`"


def update_request(
    session_id: str,
    set_context: Mapping[str, Any],
    remove_context_keys: Iterable[str],
    set_labels: Mapping[str, str],
    remove_label_keys: Iterable[str],
    set_references: Mapping[str, str],
    remove_reference_keys: Iterable[str],
    context: Mapping[str, Any] | None,
    labels: Mapping[str, str] | None,
    references: Mapping[str, str] | None,
    owner_display_name: str | None,
    owner_id: str | None,
    hold: bool | None,
    counter_increments: Mapping[str, int],
    request_id: str,
    etag: str,
    actor: str,
    reason: str,
) -> v1.UpdateSessionRequest:
    request = v1.UpdateSessionRequest(
        counter_increments=counter_increments, request_id=request_id, etag=etag, actor=actor, reason=reason
    )
    session, paths = request.session, request.update_mask.paths
    session.session_id = session_id
    some = (("context", set_context, remove_context_keys), ("labels", set_labels, remove_label_keys))
    for field, given, removed in (*some, ("references", set_references, remove_reference_keys)):
        paths.extend(path(field, key) for key in (*given, *removed))
    for field, all_of_it in (("context", context), ("labels", labels), ("references", references)):
        if all_of_it is not None:
            if any(each.startswith(f"{field}.") for each in paths):
                raise ValueError(f"Give either {field}, which replaces all of it, or what to set and to remove of it.")
            paths.append(field)
    if set_context or context:
        _convert.to_struct(context or set_context, session.context)
    session.labels.update(labels or set_labels)
    session.references.update(references or set_references)
    for field, value in (("owner_display_name", owner_display_name), ("owner_id", owner_id), ("hold", hold)):
        if value is not None:
            paths.append(field)
            setattr(session, field, value)
    return request
