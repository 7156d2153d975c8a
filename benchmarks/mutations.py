"""Damaged and forged files by the thousand: each is read as it was, or refused in one sentence, in little memory and time.

Half of the mutations are blind, as a disk, a cable or an editor makes them. The other half is made by somebody who knows
the format: values of other kinds, huge numbers and shapes, with sizes and checksums that fit.
"""

import json
import random
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO

from dclib.results import CONTENTS, Record

#: What a value of a JSON file is replaced by.
NASTY = (
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    10**30,
    2**63,
    -(2**63),
    float("nan"),
    float("inf"),
    "",
    "\ud800",
    "x" * 5000,
    "../../x",
    [],
    {},
    [[]],
    [None],
    {"shape": [10**12, 10**12], "zlib_base64": ""},
    {"shape": [-1], "zlib_base64": "eJwDAAAAAAE="},
)


def blind(content: bytes, rng: random.Random) -> bytes:
    """`content` with one to three of its places damaged."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        size = max(1, len(changed))
        start, length = rng.randrange(size), rng.choice((1, 2, 8, 64, 512))
        part = slice(start, start + length)
        how = rng.randrange(9)
        if how == 0 and changed:
            changed[start] ^= 1 << rng.randrange(8)
        elif how == 1:
            changed[part] = rng.randbytes(length)
        elif how == 2:
            del changed[start:]
        elif how == 3:
            changed += rng.randbytes(length)
        elif how == 4:
            del changed[part]
        elif how == 5:
            changed[start:start] = changed[part]
        elif how == 6:
            changed[part] = bytes(len(changed[part]))
        elif how == 7:
            changed[start:start] = rng.choice((b"[" * 3000, b'{"a":' * 3000, b"9" * 6000, b"\xff" * 8, b"\x00" * 4096))
        else:
            changed[part] = b"\xff" * len(changed[part])
    return bytes(changed)


def forged_value(tree: object, rng: random.Random) -> object:
    """A copy of a JSON value in which one place is something else, lacks, or is there twice."""
    tree = json.loads(json.dumps(tree))
    holder, key = rng.choice(list(_places(tree)))
    how = rng.randrange(6)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, list):
        holder.extend([holder[key]] * rng.choice((1, 1000)))
    elif how == 2 and isinstance(holder[key], (int, float)):
        holder[key] = -holder[key] * rng.choice((1, 2, 1e9))
    elif how == 3:
        for _ in range(rng.choice((3, 90))):
            holder[key] = [holder[key]]
    else:
        holder[key] = rng.choice(NASTY)
    return tree


def _places(tree: object):
    """All (holder, key) of a JSON value."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], (dict, list)):
            yield from _places(tree[key])


def forged_record(content: bytes, rng: random.Random) -> bytes:
    """A record with an id and a checksum that fit what was changed."""
    body = json.loads(content)
    parts = {name: body[name] for name in ("description", "outcome", "cost", "environment")}
    parts = forged_value({"record": parts}, rng).get("record", {})
    parts = parts if isinstance(parts, dict) else {}
    return Record(*(parts.get(name, {}) for name in ("description", "outcome", "cost", "environment"))).to_json().encode()


def forged_json(content: bytes, rng: random.Random) -> bytes:
    return json.dumps(forged_value([json.loads(content)], rng)[:1] or [None])[1:-1].encode()


def forged_safetensors(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header is another one: shapes, types and offsets, or the JSON inside its metadata."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    metadata = header.get("__metadata__", {})
    plans = [name for name, value in metadata.items() if value.startswith(("[", "{"))]
    if plans and rng.random() < 0.7:
        name = rng.choice(plans)
        text = json.dumps(forged_value([json.loads(metadata[name])], rng))[1:-1]
        metadata[name] = rng.choice((text, text, text, text, "[" * 3000, "9" * 6000, "null"))
    else:
        header = forged_value(header, rng)
    text = json.dumps(header).encode()
    size = rng.choice((len(text),) * 8 + (2**63 - 1, 2**40, 0))
    return struct.pack("<Q", size) + text + content[8 + length :]


def forged_archive(content: bytes, rng: random.Random) -> bytes:
    """An archive with a member that reaches out of the folder, blows up, is there twice, is no file or is forged."""
    with zipfile.ZipFile(BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist() if name != CONTENTS}
    record = next(name for name in members if name.endswith(".json"))
    name = rng.choice(
        (
            "../out.json",
            "/tmp/out.safetensors",
            "..\\out.json",
            "weights/../../out.safetensors",
            "x" * 300 + ".json",
            "weights/.safetensors",
            "C:out.json",
            record,
            f"deep/{record}",
            "weights/con.safetensors",
        )
    )
    how, out = rng.randrange(5), BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))) as file:
        for member, data in members.items():
            if how == 0 and member == record:
                data = forged_record(data, rng)
            file.writestr(member, data)
        if how == 1:
            file.writestr(name, rng.choice((members[record], b"{}", rng.randbytes(100))))
        elif how == 2:  # nothing but spaces, and a name that says record or weights
            file.writestr(rng.choice(("bomb.json", "weights/bomb.safetensors")), b" " * rng.choice((2**20, 2**25, 2**26)))
        elif how == 3:
            link = zipfile.ZipInfo(rng.choice(("link.json", "weights/link.safetensors")))
            link.external_attr = 0o120777 << 16
            file.writestr(link, "/etc/passwd")
        file.writestr(CONTENTS, json.dumps({m.filename: m.CRC for m in file.infolist()}))
    changed = bytearray(out.getvalue())
    if how == 4:  # sizes in the directory that are not those of the members
        place = changed.rfind(b"PK\x01\x02")
        struct.pack_into("<I", changed, place + 24, rng.choice((0, 1, 2**31, 2**32 - 2)))
    return bytes(changed)


Mutation = Callable[[bytes, random.Random], bytes]
