"""Meshes that must be refused, and for what; and unusual ones that must not. All are made here."""

# A table is read a row a line, and a function that writes any header takes all of its fields.
# ruff: noqa: E501

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from malformed_images import PAGE, Row
from malformed_images import saved as picture
from malformed_sounds import saved as sound

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])
POINTS = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
FACES = "3 0 1 2\n3 0 2 3\n"


def off(head: str = "OFF\n4 2 0\n", points: str = POINTS, faces: str = FACES) -> bytes:
    return (head + points + faces).encode()


def obj(faces: str = "f 1 2 3\nf 1 3 4\n", points: str = POINTS) -> bytes:
    return ("".join(f"v {line}\n" for line in points.splitlines()) + faces).encode()


def stl(count: int = 2, corners: Any = None, more: bytes = b"", head: bytes = b"") -> bytes:
    corners = SQUARE[TRIANGLES] if corners is None else corners
    facets = b"".join(bytes(12) + np.asarray(one, "<f4").tobytes() + b"\0\0" for one in corners)
    return head.ljust(80, b" ") + struct.pack("<I", count) + facets + more


def stl_text(corners: Any = None, end: str = "endsolid x\n") -> bytes:
    corners = SQUARE[TRIANGLES].tolist() if corners is None else corners
    facets = (
        "facet normal 0 0 1\nouter loop\n"
        + "".join("vertex " + " ".join(map(str, point)) + "\n" for point in one)
        + "endloop\nendfacet\n"
        for one in corners
    )
    return ("solid x\n" + "".join(facets) + end).encode()


def ply(
    form: str = "ascii",
    *,
    points: int = 4,
    faces: int = 2,
    body: bytes | None = None,
    properties: str = "property float x\nproperty float y\nproperty float z\n",
    lists: str = "property list uchar int vertex_indices\n",
) -> bytes:
    head = f"ply\nformat {form} 1.0\ncomment made here\nelement vertex {points}\n{properties}element face {faces}\n{lists}"
    if body is None:
        order = ">" if "big" in form else "<"
        binary = SQUARE.astype(order + "f4").tobytes() + b"".join(
            struct.pack(order + "Biii", 3, *face) for face in TRIANGLES
        )
        body = (POINTS + FACES).encode() if form == "ascii" else binary
    return head.encode() + b"end_header\n" + body


def scene(**more: Any) -> dict[str, Any]:
    """A glTF of one square, with whatever is different."""
    data = SQUARE.tobytes() + TRIANGLES.astype("<u2").tobytes()
    usual: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 4,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [1, 1, 0],
            },
            {"bufferView": 1, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
        "bufferViews": [{"buffer": 0, "byteLength": 48}, {"buffer": 0, "byteOffset": 48, "byteLength": 12}],
        "buffers": [
            {
                "byteLength": 60,
                "uri": "data:application/octet-stream;base64," + base64.b64encode(data).decode(),
            }
        ],
    }
    return usual | more


def gltf(**more: Any) -> bytes:
    return json.dumps(scene(**more)).encode()


def accessors(first: dict[str, Any], second: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    points, faces = scene()["accessors"]
    return [points | first, faces | (second or {})]


def glb(length: int | None = None, data: bytes | None = None, **more: Any) -> bytes:
    data = SQUARE.tobytes() + TRIANGLES.astype("<u2").tobytes() if data is None else data
    text = json.dumps(scene(**{"buffers": [{"byteLength": 60}], **more})).encode()
    text += b" " * (-len(text) % 4)
    whole = 12 + 8 + len(text) + 8 + len(data)
    head = struct.pack("<4sII", b"glTF", 2, whole if length is None else length)
    return (
        head
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(data), b"BIN\0")
        + data
    )


def cut(make: Callable[[], bytes], share: float = 1) -> Callable[[], bytes]:
    return lambda: (data := make())[: int(len(data) * share) if share < 1 else -1]


NAN_SQUARE = np.where(np.arange(12).reshape(4, 3) == 5, np.nan, SQUARE).astype(np.float32)
LITTLE, BIG = "binary_little_endian", "binary_big_endian"

ROWS: tuple[Row, ...] = (
    # Whole and unusual: to be stored.
    ("crlf.off", "CRLF", lambda: off().replace(b"\n", b"\r\n"), ""),
    ("tabs.off", "tabs", lambda: off().replace(b" ", b"\t"), ""),
    ("mark.off", "a byte order mark", lambda: b"\xef\xbb\xbf" + off(), ""),
    ("same_line.off", "counts behind the word", lambda: off("OFF 4 2 0\n"), ""),
    ("no_edges.off", "two counts", lambda: off("OFF\n4 2\n"), ""),
    ("colours.off", "COFF", lambda: off("COFF\n4 2 0\n", POINTS.replace("\n", " 255 0 0 255\n")), ""),
    ("normals.off", "NOFF", lambda: off("NOFF\n4 2 0\n", POINTS.replace("\n", " 0 0 1\n")), ""),
    ("tail.off", "face colours as floats", lambda: off(faces=FACES.replace("\n", " 0.5 0.5 0.5\n")), ""),
    ("mixed.off", "an edge, a point and a square", lambda: off("OFF\n4 3 0\n", faces="2 0 1\n1 0\n4 0 1 2 3\n"), ""),
    ("slashes.obj", "v/vt/vn", lambda: obj("f 1/1/1 2//2 3/3\nf 1 3 4\n"), ""),
    ("negative.obj", "from the end", lambda: obj("f -4 -3 -2 -1\n"), ""),
    ("continued.obj", "a face on two lines", lambda: obj("f 1 2 \\\n 3 4\n"), ""),
    ("colours.obj", "colours behind the points", lambda: obj(points=POINTS.replace("\n", " 0.1 0.2 0.3\n")), ""),
    ("mark.obj", "a byte order mark", lambda: b"\xef\xbb\xbf" + obj(), ""),
    ("library.obj", "a material that is not there", lambda: b"mtllib ../../etc/passwd\nusemtl x\n" + obj(), ""),
    ("lines.obj", "lines and points too", lambda: obj("l 1 2\np 1\nf 1 2 3 4\n"), ""),
    ("latin.obj", "a comment in Latin-1", lambda: b"# caf\xe9\n" + obj(), ""),
    ("really.ply", "text", ply, ""),
    *((f"{form}.ply", form, lambda form=form: ply(form), "") for form in (LITTLE, BIG)),
    ("doubles.ply", "doubles, other properties, other names",
     lambda: ply(LITTLE, properties="property uchar red\nproperty double x\nproperty double y\nproperty double z\n",
                 lists="property list ushort uint vertex_index\n",
                 body=b"".join(struct.pack("<Bddd", 9, *point) for point in SQUARE)
                 + struct.pack("<HIIIIHIII", 4, 0, 1, 2, 3, 3, 0, 1, 2)), ""),
    ("more.ply", "another element behind the faces",
     lambda: ply(lists="property list uchar int vertex_indices\nelement edge 1\nproperty int a\n",
                 body=(POINTS + FACES + "7\n").encode()), ""),
    ("crlf.ply", "CRLF", lambda: ply().replace(b"\n", b"\r\n"), ""),
    ("text.stl", "text", stl_text, ""),
    ("two.stl", "two solids", lambda: stl_text() + stl_text(), ""),
    ("upper.stl", "capitals", lambda: stl_text().upper(), ""),
    ("indented.stl", "indented", lambda: b"  " + stl_text().replace(b"\n", b"\r\n\t "), ""),
    ("solid.stl", "binary that begins with solid", lambda: stl(head=b"solid facet"), ""),
    ("after.stl", "a note behind the facets", lambda: stl(more=b"made by a scanner"), ""),
    ("ok.gltf", "data in the text", gltf, ""),
    ("ok.glb", "data behind the text", glb, ""),
    ("padded.glb", "no more data than needed", lambda: glb(data=SQUARE.tobytes() + TRIANGLES.astype("<u2").tobytes()), ""),
    ("loose.gltf", "no scene, nodes alone", lambda: gltf(scenes=[], scene=None), ""),
    ("strip.gltf", "a triangle strip", lambda: gltf(meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}]}]), ""),
    ("fan.gltf", "a triangle fan", lambda: gltf(meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "mode": 6}]}]), ""),
    ("picture.gltf", "a texture that is not there",
     lambda: gltf(images=[{"uri": "../../etc/passwd"}], textures=[{"source": 0}]), ""),
    ("parents.gltf", "a node with two parents", lambda: gltf(
        scenes=[{"nodes": [0, 1]}], nodes=[{"children": [2], "translation": [5, 0, 0]}, {"children": [2]}, {"mesh": 0}]), ""),
    # Ends too early.
    *((f"{name}.{end}", f"cut to {share:.0%}", cut(make, share), "truncated")
      for end, make in (("off", off), ("stl", stl), ("glb", glb), ("ply", lambda: ply(LITTLE)), ("gltf", gltf))
      for name, share in (("most", 0.9), ("half", 0.5))),
    *((f"last.{end}", "without its last byte", cut(make), "truncated")
      for end, make in (("stl", stl), ("glb", glb), ("ply", lambda: ply(BIG)), ("gltf", gltf))),
    ("half_text.ply", "half the text", cut(ply, 0.9), "truncated"),
    ("half_text.stl", "half the text", cut(stl_text, 0.5), "truncated"),
    ("solid_text.stl", "two solids, one end", lambda: stl_text() + stl_text(end=""), "truncated"),
    ("face.off", "its last face is short", lambda: off(faces="3 0 1 2\n3 0 2"), "truncated"),
    ("polygon.off", "its last polygon is short", lambda: off("OFF\n4 1 0\n", faces="4 0 1 2"), "truncated"),
    ("face.obj", "its last face is short", lambda: obj("f 1 2 3\nf 1 3"), "truncated"),
    ("point.obj", "ends inside a point", lambda: b"v 0 0 0\nv 1 0 0\nv 1 0", "truncated"),
    ("off.off", "the word alone", lambda: b"OFF\n", "truncated"),
    ("header.ply", "ends inside its header", lambda: ply()[:60], "truncated"),
    ("head.glb", "12 bytes", lambda: glb()[:12], "truncated"),
    ("head.stl", "binary, 60 bytes", lambda: stl(head=b"\x80\x81")[:60], "truncated"),
    ("counts.off", "10^12 vertices promised", lambda: off("OFF\n1000000000000 2 0\n"), "truncated"),
    ("faces.off", "10^12 faces promised", lambda: off("OFF\n4 1000000000000 0\n"), "truncated"),
    ("counts.ply", "10^12 vertices promised", lambda: ply(points=10**12), "truncated"),
    ("faces.ply", "10^12 faces promised", lambda: ply(LITTLE, faces=10**12), "truncated"),
    ("list.ply", "a face of 2^32 - 1 corners", lambda: ply(
        LITTLE, faces=1, lists="property list uint int vertex_indices\n",
        body=SQUARE.tobytes() + b"\xff" * 4 + bytes(99)), "truncated"),
    ("count.stl", "2^32 - 1 facets promised", lambda: stl(2**32 - 1), "truncated"),
    ("accessor.gltf", "10^12 points promised", lambda: gltf(accessors=accessors({"count": 10**12})), "truncated"),
    ("view.gltf", "a view behind its buffer", lambda: gltf(
        bufferViews=[{"buffer": 0, "byteLength": 48}, {"buffer": 0, "byteOffset": 4800, "byteLength": 12}]), "truncated"),
    ("buffer.glb", "less data than promised", lambda: glb(data=SQUARE.tobytes()), "truncated"),
    # Damaged.
    ("letters.off", "a vertex of letters", lambda: off(points=POINTS.replace("1 1 0", "1 x 0")), "corrupt"),
    ("nul.off", "zeros in between", lambda: off(points=POINTS.replace("1 1 0", "1 \0 0")), "corrupt"),
    ("short.off", "a vertex of two numbers", lambda: off(points=POINTS.replace("1 1 0", "1 1")), "corrupt"),
    ("shortface.off", "a face of two corners that says three", lambda: off(faces="3 0 1\n3 0 2 3\n"), "corrupt"),
    ("shortquad.off", "a face of three corners that says four", lambda: off(faces="4 0 1 2\n3 0 2 3\n"), "corrupt"),
    ("minus.off", "a face of -3 corners", lambda: off(faces="-3 0 1 2\n3 0 2 3\n"), "corrupt"),
    ("underscore.off", "1_0 is no number", lambda: off(points=POINTS.replace("1 1 0", "1 1_0 0")), "corrupt"),
    ("letters.obj", "a vertex of letters among good ones", lambda: obj(points=POINTS.replace("1 1 0", "1 x 0")), "corrupt"),
    ("short.obj", "a vertex of two numbers", lambda: obj(points=POINTS.replace("1 1 0", "1 1")), "corrupt"),
    ("letters.ply", "a vertex of letters", lambda: ply(body=(POINTS.replace("1 1 0", "1 x 0") + FACES).encode()), "corrupt"),
    ("letters.stl", "a vertex of letters", lambda: stl_text().replace(b"1.0", b"l.O"), "corrupt"),
    ("corners.stl", "a facet of two corners", lambda: stl_text([*SQUARE[TRIANGLES].tolist(), [[0, 0, 0], [1, 1, 1]]]), "corrupt"),
    ("json.glb", "no JSON", lambda: glb().replace(b'"asset"', b'"asset '), "corrupt"),
    ("base64.gltf", "no base64", lambda: gltf(buffers=[{"byteLength": 60, "uri": "data:;base64,!!!!"}]), "corrupt"),
    ("index.gltf", "an accessor that does not exist", lambda: gltf(
        meshes=[{"primitives": [{"attributes": {"POSITION": 7}}]}]), "corrupt"),
    ("circle.gltf", "nodes in a circle", lambda: gltf(nodes=[{"mesh": 0, "children": [1]}, {"children": [0]}]), "corrupt"),
    ("types.gltf", "words for numbers", lambda: gltf(accessors=accessors({"count": "four"})), "corrupt"),
    # Other content.
    *((f"page.{end}", "a web page", lambda: PAGE, "not_media") for end in ("off", "obj", "ply", "stl", "glb", "gltf")),
    *((f"zip.{end}", "a zip archive", lambda: b"PK\3\4" + bytes(9999), "not_media")
      for end in ("off", "obj", "ply", "stl", "glb", "gltf")),
    *((f"photo.{end}", "a photo", lambda: picture("JPEG"), "not_media") for end in ("off", "obj", "ply", "stl", "glb", "gltf")),
    ("sound.stl", "a WAV", lambda: sound("WAV"), "not_media"),
    ("glb.stl", "a GLB named .stl", glb, "not_media"),
    ("ply.stl", "a PLY named .stl", lambda: ply(LITTLE), "not_media"),
    ("off.obj", "an OFF named .obj", off, "not_media"),
    ("obj.stl", "an OBJ named .stl", obj, "not_media"),
    ("list.gltf", "JSON, but no glTF", lambda: b"[1, 2, 3]", "not_media"),
    ("other.gltf", "JSON, but no glTF", lambda: b'{"name": "x", "version": 2}', "not_media"),
    ("wide.obj", "UTF-16", lambda: obj().decode().encode("utf-16"), "not_media"),
    ("number.gltf", "a number", lambda: b"7", "not_media"),
    ("deep.gltf", "brackets without end", lambda: b"[" * 200_000, "not_media"),
    # No decoder here.
    ("binary.off", "binary OFF", lambda: b"OFF BINARY\n" + bytes(99), "unsupported"),
    ("four.off", "four coordinates", lambda: off("4OFF\n4 2 0\n", POINTS.replace("\n", " 1\n")), "unsupported"),
    ("draco.gltf", "compressed by Draco", lambda: gltf(extensionsRequired=["KHR_draco_mesh_compression"]), "unsupported"),
    ("old.glb", "glTF 1.0", lambda: b"glTF\1\0\0\0" + glb()[8:], "unsupported"),
    ("strips.ply", "triangle strips", lambda: ply(faces=0).replace(b"element face 0", b"element tristrips 1"), "unsupported"),
    # Headers that cannot be.
    ("minus_counts.off", "-4 vertices", lambda: off("OFF\n-4 2 0\n"), "bad_header"),
    ("word_counts.off", "four vertices, in words", lambda: off("OFF\nfour 2 0\n"), "bad_header"),
    ("float_counts.off", "4.5 vertices", lambda: off("OFF\n4.5 2 0\n"), "bad_header"),
    ("minus.ply", "-4 vertices", lambda: ply(points=-4), "bad_header"),
    ("form.ply", "a form that does not exist", lambda: ply("middle_endian"), "bad_header"),
    ("type.ply", "numbers of a type that does not exist", lambda: ply(properties="property quad x\n"), "bad_header"),
    ("axes.ply", "points without z", lambda: ply(properties="property float x\nproperty float y\n"), "bad_header"),
    ("few.stl", "counts one facet of two", lambda: stl(1), "bad_header"),
    # Bombs.
    ("faces.obj", "six million faces", lambda: obj("f 1 2 3\n" * 6_000_000), "too_large"),
    ("points.off", "six million points", lambda: off("OFF\n6000000 1 0\n", "0 0 0\n" * 6_000_000, "3 0 1 2\n"), "too_large"),
    ("empty_lines.off", "three million empty lines", lambda: off("OFF\n4 2 0\n" + "\n" * 3_000_000), ""),
    ("corners.obj", "a face of six million corners", lambda: obj("f" + " 1 2 3" * 2_000_000 + "\n"), "too_large"),
    ("word.off", "a number of 100 MB", lambda: off(points="0 0 0\n" * 3 + "1" * 100_000_000 + " 0 0\n"), "too_large"),
    ("zeros.stl", "six million facets", lambda: stl(6_000_000, (), bytes(300_000_000)), "too_large"),
    ("instances.gltf", "2^40 instances of one square", lambda: gltf(
        nodes=[{"children": [n + 1, n + 1]} for n in range(40)] + [{"mesh": 0}]), "too_large"),
    ("sparse.gltf", "a billion points out of nothing", lambda: gltf(accessors=[
        {"componentType": 5126, "count": 10**9, "type": "VEC3"}, scene()["accessors"][1]]), "too_large"),
    # No numbers.
    *((f"{word}.off", f"a coordinate is {word}", lambda word=word: off(points=POINTS.replace("1 1 0", f"1 {word} 0")),
       "non_finite") for word in ("nan", "inf", "-Infinity", "1e400", "NaN")),
    *((f"{word}.obj", f"a coordinate is {word}", lambda word=word: obj(points=POINTS.replace("1 1 0", f"1 {word} 0")),
       "non_finite") for word in ("nan", "1e400")),
    *((f"{word}.ply", f"a coordinate is {word}",
       lambda word=word: ply(body=(POINTS.replace("1 1 0", f"1 {word} 0") + FACES).encode()), "non_finite")
      for word in ("nan", "inf")),
    *((f"{word}.stl", f"a coordinate is {word}", lambda word=word: stl_text().replace(b"1.0", word.encode()), "non_finite")
      for word in ("nan", "1e400")),
    ("binary_nan.stl", "a coordinate is NaN", lambda: stl(2, NAN_SQUARE[TRIANGLES]), "non_finite"),
    ("binary_nan.ply", "a coordinate is NaN", lambda: ply(LITTLE, body=NAN_SQUARE.tobytes() + b"".join(
        struct.pack("<Biii", 3, *face) for face in TRIANGLES)), "non_finite"),
    ("nan.glb", "a coordinate is NaN", lambda: glb(data=NAN_SQUARE.tobytes() + TRIANGLES.astype("<u2").tobytes()),
     "non_finite"),
    ("scale.gltf", "a scale that is no number", lambda: gltf(nodes=[{"mesh": 0, "scale": [1e400, 1, 1]}]), "non_finite"),
    # Nothing in it.
    ("none.off", "no vertices", lambda: off("OFF\n0 0 0\n", "", ""), "no_content"),
    ("points.obj", "points alone", lambda: obj(""), "no_content"),
    ("none.ply", "no faces", lambda: ply(faces=0, body=POINTS.encode()), "no_content"),
    ("none.stl", "no facets", lambda: stl(0, ()), "no_content"),
    ("none_text.stl", "no facets", lambda: b"solid x\nendsolid x\n", "no_content"),
    ("none.gltf", "no meshes", lambda: gltf(meshes=[], nodes=[{}]), "no_content"),
    ("unused.gltf", "a mesh that no node shows", lambda: gltf(nodes=[{}]), "no_content"),
    ("lines.gltf", "lines alone", lambda: gltf(meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "mode": 1}]}]),
     "no_content"),
    # Faces of vertices that do not exist.
    ("index.off", "vertex 4 of 4", lambda: off(faces="3 0 1 4\n3 0 2 3\n"), "bad_index"),
    ("negative.off", "vertex -1", lambda: off(faces="3 0 1 -1\n3 0 2 3\n"), "bad_index"),
    ("huge.off", "vertex 10^20", lambda: off(faces="3 0 1 100000000000000000000\n3 0 2 3\n"), "bad_index"),
    ("quad.off", "vertex 10^20 of a square", lambda: off("OFF\n4 1 0\n", faces="4 0 1 2 100000000000000000000\n"), "bad_index"),
    ("zero.obj", "vertex 0", lambda: obj("f 0 1 2\n"), "bad_index"),
    ("too_negative.obj", "vertex -5 of 4", lambda: obj("f -5 -1 -2\n"), "bad_index"),
    ("huge.obj", "vertex 10^20", lambda: obj("f 1 2 100000000000000000000\n"), "bad_index"),
    ("index.ply", "vertex 4 of 4", lambda: ply(body=(POINTS + "3 0 1 4\n3 0 2 3\n").encode()), "bad_index"),
    ("index.glb", "vertex 9 of 4", lambda: glb(data=SQUARE.tobytes() + struct.pack("<6H", 0, 1, 9, 0, 2, 3)), "bad_index"),
    # No area.
    ("line.off", "on a line", lambda: off(points="0 0 0\n1 0 0\n2 0 0\n3 0 0\n"), "degenerate"),
    ("one_point.obj", "in one point", lambda: obj(points="1 1 1\n" * 4), "degenerate"),
    ("same.ply", "corners that are the same", lambda: ply(body=(POINTS + "3 0 0 0\n3 1 1 2\n").encode()), "degenerate"),
    ("flat.gltf", "scaled to nothing", lambda: gltf(nodes=[{"mesh": 0, "scale": [0, 0, 0]}]), "degenerate"),
    # What lies elsewhere.
    *((f"{name}.gltf", f"its data lie at {uri}", lambda uri=uri: gltf(buffers=[{"byteLength": 60, "uri": uri}]), "external_ref")
      for name, uri in (("path", "../../../etc/passwd"), ("file", "file:///etc/passwd"), ("net", "http://127.0.0.1/a.bin"),
                        ("neighbour", "a.bin"))),
    ("outer.glb", "its data lie in a file", lambda: glb(buffers=[{"byteLength": 60, "uri": "a.bin"}]), "external_ref"),
)  # fmt: skip
