"""Whether an answer looks as a scenario expects; see docs/conformance.md."""

import re


def substituted(value, names):
    """The value with every `${name.path}` replaced. One that is all of a text keeps its type."""
    if isinstance(value, dict):
        return {substituted(key, names): substituted(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [substituted(each, names) for each in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{([^}]+)\}", value)
    if whole:
        return _at(whole[1], names)
    return re.sub(r"\$\{([^}]+)\}", lambda match: str(_at(match[1], names)), value)


def _at(path, names):
    value = names
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise KeyError(f"${{{path}}}: there is no {part}") from None
    return value


MISSING = object()


def is_default(value):
    return value is MISSING or value is None or (not isinstance(value, float) and value in (0, "", False, [], {}))


def differences(expected, found, path=""):
    """What is not as expected, a sentence each."""
    where = path or "the answer"
    shown = "not there" if found is MISSING else repr(found)
    if isinstance(expected, dict) and any(key.startswith("$") for key in expected):
        return _special(expected, found, where, shown)
    if isinstance(expected, dict):
        if not expected and is_default(found):
            return []
        if not isinstance(found, dict):
            return [f"{where} is {shown}, not an object"]
        wrong = []
        for key, each in expected.items():
            wrong += differences(each, found.get(key, MISSING), f"{path}.{key}" if path else key)
        return wrong
    if isinstance(expected, list):
        if not expected and is_default(found):
            return []
        if not isinstance(found, list):
            return [f"{where} is {shown}, not a list"]
        if len(found) != len(expected):
            return [f"{where} has {len(found)} items, not {len(expected)}: {found!r}"]
        wrong = []
        for index, (each, item) in enumerate(zip(expected, found)):
            wrong += differences(each, item, f"{path}.{index}" if path else str(index))
        return wrong
    if is_default(expected) and is_default(found):
        return []
    if _same(expected, found):
        return []
    return [f"{where} is {shown}, not {expected!r}"]


def _same(expected, found):
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    return expected == found


def _special(expected, found, where, shown):
    wrong = []
    for kind, wanted in expected.items():
        if kind == "$any":
            ok, text = not is_default(found) or found == 0.0 and isinstance(found, float), "there"
        elif kind == "$absent":
            ok, text = is_default(found), "absent"
        elif kind == "$from":
            ok, text = _number(found) is not None and _number(found) >= wanted, f"at least {wanted}"
        elif kind == "$to":
            ok, text = _number(found) is not None and _number(found) <= wanted, f"at most {wanted}"
        elif kind == "$matches":
            ok, text = isinstance(found, str) and re.search(wanted, found), f"like {wanted}"
        elif kind == "$contains" and isinstance(found, str):
            ok, text = wanted in found, f"with {wanted!r} in it"
        elif kind == "$contains":
            ok = isinstance(found, list) and any(not differences(wanted, item) for item in found)
            text = f"a list with {wanted!r}"
        elif kind == "$length":
            length = 0 if is_default(found) else len(found) if hasattr(found, "__len__") else -1
            ok, text = not differences(wanted, length), f"of length {wanted}, but {length}"
        elif kind == "$in":
            ok, text = any(not differences(each, found) for each in wanted), f"one of {wanted!r}"
        elif kind == "$not":
            ok, text = bool(differences(wanted, found)), f"other than {wanted!r}"
        else:
            raise ValueError(f"There is no {kind}.")
        if not ok:
            wrong.append(f"{where} is {shown}, not {text}")
    return wrong


def _number(value):
    if value is MISSING or value is None:
        return 0
    return value if isinstance(value, (int, float)) else None
