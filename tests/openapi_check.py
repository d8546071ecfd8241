"""Checks an OpenAPI document of the contract: python openapi_check.py DOCUMENT

It is valid. Its schemas take messages with anything in them that their rules allow, as Protobuf
prints them, and know all of their fields. They refuse each of these messages when one value in it is
of another type, or breaks a rule that a schema can say. The rules are read from the contract anew,
not from what the document was made of.
"""

import collections
import copy
import importlib
import json
import random
import string
import sys

import jsonschema
import openapi_spec_validator
from google.protobuf import descriptor, json_format, message_factory
from google.protobuf import duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2
from sessiond.v1 import rules_pb2

SERVICES = "admin artifact error message session task workflow".split()
MESSAGES_OF_A_TYPE = 60
Rules = rules_pb2.FieldRules
Field = descriptor.FieldDescriptor

BYTES_MAX = collections.defaultdict(
    lambda: 4096,
    {
        Rules.NAME: 256,
        Rules.VALUE: 256,
        Rules.PRINTABLE: 128,
        Rules.IDENTIFIER: 63,
        Rules.LABEL_KEY: 63,
        Rules.NAMESPACE: 63,
        Rules.NAMESPACES: 63,
        Rules.UUID: 36,
        Rules.SESSION_ID: 64,
    },
)
SYMBOLS = {Rules.IDENTIFIER: "_", Rules.LABEL_KEY: "_.-", Rules.NAMESPACE: "-", Rules.NAMESPACES: "-"}
MAP_ENTRIES_MAX = 64
UUID = "0192f3c4-9f2e-7abc-8def-0123456789ab"
EXEC = "exec_20260102_030405_0a1b2c3d"


def rules_of(field):
    return field.GetOptions().Extensions[rules_pb2.rules]


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def is_list(field):
    return field.label == Field.LABEL_REPEATED and not is_map(field)


def is_google(message_type):
    return message_type.full_name.startswith("google.protobuf.")


def checked_types(requests):
    """The types whose fields the daemon checks by their rules: what callers send, but workflows, which
    have a check of their own, and what is output only."""
    found = {}

    def visit(message_type):
        if message_type.full_name in found or is_google(message_type):
            return
        if message_type.full_name == "sessiond.v1.Workflow":
            return
        found[message_type.full_name] = message_type
        for field in message_type.fields:
            if field.message_type and not is_map(field) and not rules_of(field).output_only:
                visit(field.message_type)

    for request in requests:
        visit(request)
    return found


class Contract:
    def __init__(self):
        modules = [importlib.import_module(f"sessiond.v1.{name}_service_pb2") for name in SERVICES]
        self.methods = [
            method
            for module in modules
            for service in module.DESCRIPTOR.services_by_name.values()
            for method in service.methods
        ]
        self.requests = {method.input_type.full_name for method in self.methods}
        self.checked = checked_types(method.input_type for method in self.methods)

    def rules(self, field):
        """What the field's values have to obey, or None."""
        if field.containing_type.full_name not in self.checked or rules_of(field).output_only:
            return None
        return rules_of(field)

    def is_id_of_request(self, field):
        return (
            rules_of(field).text == Rules.SESSION_ID
            and field.containing_type.full_name in self.requests
        )


# -------------------------------------------------------------------------------------------------
# messages with anything in them


class Filler:
    def __init__(self, contract, seed):
        self.contract = contract
        self.random = random.Random(seed)

    def word(self, symbols, longest):
        letters = string.ascii_lowercase + string.digits + symbols
        length = self.random.choice([1, 2, longest])
        return self.random.choice(string.ascii_lowercase) + "".join(
            self.random.choices(letters, k=length - 1)
        )

    def any_text(self, longest, alphabet):
        """As many bytes as it may have, or few of them; of ASCII alone as many characters, too."""
        if self.random.random() < 0.5:
            alphabet = [character for character in alphabet if character.isascii()]
        characters = []
        size = 0
        wanted = self.random.choice([1, 7, longest])
        while True:
            character = self.random.choice(alphabet)
            size += len(character.encode())
            if size > wanted:
                return "".join(characters).ljust(1, "a")
            characters.append(character)

    def text(self, rules, given, in_request):
        kind = rules.text if rules else Rules.ANY
        longest = min(rules.bytes_max or BYTES_MAX[kind], 20000) if rules else 5000
        if not given and kind not in (Rules.NOT_BLANK, Rules.VALUE, Rules.LABEL_KEY):
            if self.random.random() < 0.2:
                return ""
        if kind in SYMBOLS:
            if kind == Rules.NAMESPACES and self.random.random() < 0.3:
                return "-"
            return self.word(SYMBOLS[kind], longest)
        if kind == Rules.UUID:
            return UUID
        if kind == Rules.SESSION_ID and in_request:
            return self.random.choice([UUID, EXEC])
        if kind == Rules.PRINTABLE:
            return self.any_text(longest, [chr(c) for c in range(0x21, 0x7F)])
        if kind in (Rules.NAME, Rules.VALUE, Rules.NOT_BLANK):
            return self.any_text(longest, "a \u00a0ä€😀\\\"") if self.random.random() < 0.9 else "a"
        return self.any_text(longest, "a \n\t\u0001ä€😀\\\"<")

    def value(self, depth=0):
        kinds = [None, True, 1.5, -3.0, "tä", ""]
        if depth < 3:
            kinds += [[self.value(depth + 1)], {"k ä": self.value(depth + 1)}]
        return self.random.choice(kinds)

    def google(self, message, rules):
        if isinstance(message, timestamp_pb2.Timestamp):
            message.seconds = self.random.choice([0, -62135596800, 253402300799, 1767225600])
            message.nanos = self.random.choice([0, 1, 120_000_000, 999_999_999])
        elif isinstance(message, duration_pb2.Duration):
            low, high = (rules.seconds_min, rules.seconds_max) if rules else (-5, 0)
            message.seconds = self.random.choice([low, high or 100])
            if message.seconds == low and low >= 0:
                message.nanos = self.random.choice([0, 1, 999_999_999])
        elif isinstance(message, field_mask_pb2.FieldMask):
            message.paths.extend(self.random.sample(["hold", "labels.team", "owner_id"], 2))
        elif isinstance(message, struct_pb2.Struct):
            message.update({"a": self.value(), "B_c": self.value()})
        else:
            raise NotImplementedError(message.DESCRIPTOR.full_name)

    def scalar(self, field, rules, given, in_request):
        if field.type == Field.TYPE_STRING:
            return self.text(rules, given, in_request)
        if field.type == Field.TYPE_BOOL:
            return self.random.random() < 0.5
        if field.type == Field.TYPE_INT32:
            low = 0 if rules and rules.not_negative else -(2**31)
            return self.random.choice([low, 0, 1, 2**31 - 1])
        if field.type == Field.TYPE_ENUM:
            numbers = [value.number for value in field.enum_type.values]
            return self.random.choice(numbers[1:] if given else numbers)
        raise NotImplementedError(field.full_name)

    def fill(self, message, depth=0):
        for field in message.DESCRIPTOR.fields:
            rules = self.contract.rules(field)
            names_session = bool(rules and rules.names_session)
            given = bool(rules and (rules.required or rules.items_min)) or names_session
            if not given and (depth > 2 or self.random.random() < 0.3):
                continue
            self.fill_field(message, field, rules, given, depth)
            if names_session:
                getattr(message, field.name).session_id = self.random.choice([UUID, EXEC])

    def fill_field(self, message, field, rules, given, depth):
        in_request = field.containing_type.full_name in self.contract.requests
        if is_map(field):
            self.fill_map(getattr(message, field.name), field, rules, depth)
            return
        many = is_list(field)
        least = rules.items_min if rules else 0
        most = min((rules.items_max if rules else 0) or 3, 3)
        for _ in range(self.random.randint(least, most) if many else 1):
            if field.message_type is None:
                value = self.scalar(field, rules, given and not many, in_request)
                if many:
                    getattr(message, field.name).append(value)
                else:
                    setattr(message, field.name, value)
                continue
            part = getattr(message, field.name)
            part = part.add() if many else part
            part.SetInParent()
            if is_google(field.message_type):
                self.google(part, rules)
            else:
                self.fill(part, depth + 1)

    def fill_map(self, entries, field, rules, depth):
        value = field.message_type.fields_by_name["value"]
        count = self.random.choice([0, 1, MAP_ENTRIES_MAX])
        while len(entries) < count:
            kind = rules.key if rules else Rules.ANY
            key = self.word(SYMBOLS.get(kind, "_"), BYTES_MAX[kind])
            if value.message_type is not None:
                self.fill(entries[key], depth + 1)
            else:
                entries[key] = self.scalar(value, rules, False, False)


# -------------------------------------------------------------------------------------------------
# and the same with one thing wrong


def wrong_values(field):
    """Values of other types than one of this field is."""
    if field.message_type is not None:
        name = field.message_type.full_name
        if name == "google.protobuf.Timestamp":
            return ["yesterday", 5, {}]
        if name == "google.protobuf.Duration":
            return ["5", "1.5", 5, "5m", {}]
        if name == "google.protobuf.FieldMask":
            return [["hold"], {"paths": ["hold"]}]
        return ["text", 5, []]
    return {
        Field.TYPE_STRING: [5, True, {}, []],
        Field.TYPE_BOOL: ["true", 1, {}],
        Field.TYPE_INT32: ["one", 1.5, True, {}],
        Field.TYPE_ENUM: ["NO_SUCH_VALUE", "active", 1, {}],
    }[field.type]


def too_long(rules):
    return "a" * ((rules.bytes_max or BYTES_MAX[rules.text]) + 1)


def rule_breakers(contract, field):
    """Values of the right type that its rules forbid, and that a schema can refuse."""
    rules = contract.rules(field)
    if rules is None or field.message_type is not None:
        return []
    given = rules.required and not is_list(field)
    values = []
    if field.type == Field.TYPE_STRING and rules.text != Rules.ANY:
        values.append(too_long(rules))
        if given:
            values.append("")
    if field.type == Field.TYPE_STRING:
        values += {
            Rules.NOT_BLANK: [""],
            Rules.NAME: ["a\nb", "a\u0085"],
            Rules.VALUE: ["a\nb", ""],
            Rules.PRINTABLE: ["a b", "ä"],
            Rules.IDENTIFIER: ["A", "a-b", "1a"],
            Rules.LABEL_KEY: ["A", "a/b", ""],
            Rules.NAMESPACE: ["A", "a_b", "-"],
            Rules.NAMESPACES: ["A", "a_b", "--"],
            Rules.UUID: [UUID.upper(), UUID[:-1], "x"],
        }.get(rules.text, [])
        if contract.is_id_of_request(field):
            values += [UUID.upper(), EXEC[:-1], "x"]
    if rules.not_negative:
        values.append(-1)
    return values


def mutants(contract, message_type, content):
    """What this message's JSON becomes with one thing wrong: pairs of what, and the whole."""

    def with_value(name, value):
        return {**content, name: value}

    for field in message_type.fields:
        name = field.json_name
        if name not in content:
            continue
        rules = contract.rules(field)
        where = field.full_name
        if is_map(field):
            of_value = field.message_type.fields_by_name["value"]
            for wrong in ["text", 5, [], *({"k": each} for each in wrong_values(of_value))]:
                yield f"{where}: {wrong}", with_value(name, wrong)
            if rules is not None:
                value = next(iter(content[name].values()), None)
                if value is not None:
                    many = {f"k{i}": value for i in range(MAP_ENTRIES_MAX + 1)}
                    yield f"{where}: too many", with_value(name, many)
                    yield f"{where}: no key", with_value(name, {"": value})
                    yield f"{where}: a key", with_value(name, {"A": value})
                if of_value.type == Field.TYPE_STRING:
                    yield f"{where}: too long", with_value(name, {"k": too_long(rules)})
            continue
        wrong = [*wrong_values(field), *rule_breakers(contract, field)]
        if is_list(field):
            for each in ["text", 5, {}, *([each] for each in wrong)]:
                yield f"{where}: {each}"[:200], with_value(name, each)
            if rules is not None and rules.items_min:
                yield f"{where}: too few", with_value(name, [])
            if rules is not None and rules.items_max and content[name]:
                many = content[name][:1] * (rules.items_max + 1)
                yield f"{where}: too many", with_value(name, many)
        else:
            for each in wrong:
                yield f"{where}: {each}"[:200], with_value(name, each)
        if rules is not None and (rules.required or rules.items_min or rules.names_session):
            yield f"{where}: left out", {key: content[key] for key in content if key != name}
        if rules is not None and rules.names_session:
            for wrong_id in ["", "x"]:
                session = {**content[name], "sessionId": wrong_id}
                yield f"{where}: {wrong_id}", with_value(name, session)
        yield from mutants_below(contract, field, content, with_value)


def mutants_below(contract, field, content, with_value):
    if field.message_type is None or is_google(field.message_type):
        return
    name = field.json_name
    part = content[name]
    if not is_list(field):
        for what, wrong in mutants(contract, field.message_type, part):
            yield what, with_value(name, wrong)
    elif part:
        for what, wrong in mutants(contract, field.message_type, part[0]):
            yield what, with_value(name, [wrong, *part[1:]])


# -------------------------------------------------------------------------------------------------
# the document


def closed(schemas):
    """The same, knowing no other properties than those they name."""
    schemas = copy.deepcopy(schemas)
    for schema in schemas.values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return schemas


class Schemas:
    def __init__(self, document):
        schemas = closed(document["components"]["schemas"])
        for schema in schemas.values():
            jsonschema.Draft202012Validator.check_schema(schema)
        self._root = {"components": {"schemas": schemas}}
        self._validators = {}

    def validator(self, name):
        if name not in self._validators:
            reference = f"#/components/schemas/{name}"
            self._validators[name] = jsonschema.Draft202012Validator(
                {**self._root, "$ref": reference},
                format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
            )
        return self._validators[name]


def content_of(operation, message, streams):
    content = message["content"]
    assert list(content) == [f"application/{'connect+' if streams else ''}json"], operation
    schema = next(iter(content.values()))["schema"]
    return (schema["contentSchema"] if streams else schema)["$ref"].rpartition("/")[2]


def check_paths(contract, document):
    for method in contract.methods:
        path = f"/{method.containing_service.full_name}/{method.name}"
        post = document["paths"][path]["post"]
        streams = method.client_streaming or method.server_streaming
        request = content_of(path, post["requestBody"], streams)
        assert request == method.input_type.full_name, path
        answer = content_of(path, post["responses"]["200"], streams)
        assert answer == method.output_type.full_name, path


def check_type(contract, schemas, message_type, problems):
    validator = schemas.validator(message_type.full_name)
    taken = refused = 0
    seen = set()
    for seed in range(MESSAGES_OF_A_TYPE):
        message = message_factory.GetMessageClass(message_type)()
        Filler(contract, seed).fill(message)
        for all_fields in (False, True):
            content = json_format.MessageToDict(message, including_default_value_fields=all_fields)
            for error in validator.iter_errors(content):
                problems.append(f"{message_type.full_name} refuses {error.json_path}: {error.message[:200]}")
            taken += 1
        for what, wrong in mutants(contract, message_type, json_format.MessageToDict(message)):
            if what in seen:
                continue
            seen.add(what)
            if validator.is_valid(wrong):
                problems.append(f"{message_type.full_name} takes {what}")
            refused += 1
    return taken, refused


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV31SpecValidator)
    contract = Contract()
    check_paths(contract, document)
    schemas = Schemas(document)
    problems = []
    taken = refused = 0
    types = {
        each.full_name: each for method in contract.methods for each in (method.input_type, method.output_type)
    }
    for message_type in types.values():
        more = check_type(contract, schemas, message_type, problems)
        taken += more[0]
        refused += more[1]
    for problem in list(dict.fromkeys(problems))[:40]:
        print(problem)
    print(f"{len(types)} types: {taken} messages to take, {refused} to refuse, {len(problems)} problems")
    sys.exit(bool(problems) or not taken or not refused)


if __name__ == "__main__":
    main()
