"""Generates docs/reference.md from protos/*.proto: every message and field with its comment.

``--check`` writes nothing and exits with code 1 if docs/reference.md is out of date.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs/reference.md"
ORDER = """
pipeline data feature model module backbone layer loss metric custom train optimizer export
""".split()
INTRO = """# Reference: every field of the config

Generated from the comments in `protos/*.proto` by `python scripts/gen_reference.py`; do not edit.
The config is a single `Pipeline` message in protobuf text format. A field without a default is
unset.
"""
MESSAGES, ENUMS, NESTED_MESSAGES, FIELDS, NESTED_ENUMS, VALUES = 4, 5, 3, 2, 4, 2
TYPES = {
    number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()
}


class Comments:
    """The comment above each element of a .proto file, by descriptor path."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._by_path = {
            tuple(location.path): " ".join(location.leading_comments.split())
            for location in file.source_code_info.location
        }

    def at(self, *path: int) -> str:
        return self._by_path.get(path, "")


def parsed() -> list[FileDescriptorProto]:
    """All schema files with their comments, in the order of the reference."""
    names = [f"tzmmoe/protos/{name}.proto" for name in ORDER]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "schema"
        options = ["--include_source_info", f"--descriptor_set_out={out}"]
        include = f"-Itzmmoe/protos={ROOT / 'protos'}"
        if protoc.main(["protoc", include, *options, *names]):
            sys.exit("protoc could not read protos/*.proto")
        by_name = {file.name: file for file in FileDescriptorSet.FromString(out.read_bytes()).file}
    return [by_name[name] for name in names]


def reference() -> str:
    """The whole page."""
    parts = [INTRO]
    for file in parsed():
        comments = Comments(file)
        parts.append(f"\n## {Path(file.name).name}\n")
        for number, message in enumerate(file.message_type):
            parts += message_lines(message, comments, (MESSAGES, number))
        for number, enum in enumerate(file.enum_type):
            parts += enum_lines(enum, comments, (ENUMS, number))
    return "\n".join(parts) + "\n"


def message_lines(
    message: DescriptorProto, comments: Comments, path: tuple[int, ...]
) -> Iterator[str]:
    if message.options.map_entry:
        return
    yield f"### {message.name}\n\n{comments.at(*path)}\n"
    if message.field:
        yield "| field | type | default | meaning |\n|---|---|---|---|"
    for number, field in enumerate(message.field):
        meaning = comments.at(*path, FIELDS, number)
        if field.HasField("oneof_index"):
            meaning = f"*one of `{message.oneof_decl[field.oneof_index].name}`.* {meaning}"
        yield f"| `{field.name}` | {kind(field, message)} | {default(field)} | {escaped(meaning)} |"
    yield ""
    for number, enum in enumerate(message.enum_type):
        yield from enum_lines(enum, comments, (*path, NESTED_ENUMS, number))
    for number, nested in enumerate(message.nested_type):
        yield from message_lines(nested, comments, (*path, NESTED_MESSAGES, number))


def enum_lines(
    enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]
) -> Iterator[str]:
    yield f"### {enum.name}\n\n{comments.at(*path)}\n\n| value | meaning |\n|---|---|"
    for number, value in enumerate(enum.value):
        yield f"| `{value.name}` | {escaped(comments.at(*path, VALUES, number))} |"
    yield ""


def kind(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """The field's type as a config author sees it, linked if it has fields or values of its own."""
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    short = field.type_name.rpartition(".")[2]
    if short in maps:
        return "map of " + " to ".join(TYPES[part.type] for part in maps[short].field)
    name = f"[{short}](#{short.lower()})" if short else TYPES[field.type]
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return f"{name}, repeated" if repeated else name


def default(field: FieldDescriptorProto) -> str:
    if not field.HasField("default_value"):
        return ""
    text = field.default_value.encode("unicode_escape").decode()
    return f'`"{text}"`' if TYPES[field.type] == "string" else f"`{text}`"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare without writing")
    arguments = parser.parse_args()
    text = reference()
    if not arguments.check:
        TARGET.write_text(text)
    elif not TARGET.is_file() or TARGET.read_text() != text:
        sys.exit("docs/reference.md is out of date; run python scripts/gen_reference.py")


if __name__ == "__main__":
    main()
