"""glTF 2, in text and binary: the triangles of every mesh at every place where the scene shows it.

No other file is ever opened: data that lie elsewhere are refused, textures are not looked at.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.mesh_text import Surface, check_count, joined
from preprocessing.refusal import Refused

Scene = dict[str, Any]
Matrix = NDArray[np.float64]

NUMBERS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
COMPRESSED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression",
              "EXT_mesh_gpu_instancing"}  # fmt: skip
# Places at which a scene may show something; a few nested nodes can stand for 2^40 of them.
MOST_PLACES = 50_000
MOVES = {"matrix", "rotation", "scale", "translation"}
TRIANGLES, STRIP, FAN = 4, 5, 6


def read_glb(data: bytes, max_faces: int) -> Surface:
    """Binary glTF, once it is as long as it says."""
    if data[:4] != b"glTF":
        raise Refused("not_media", f"no GLB: begins with {data[:16]!r}")
    if len(data) < 20:
        raise Refused("truncated", f"it ends after {len(data)} bytes, inside its header")
    version, length, text = struct.unpack_from("<III", data, 4)
    if version != 2:
        raise Refused("unsupported", f"glTF {version}")
    if length > len(data) or 20 + text > len(data):
        raise Refused("truncated", f"it ends after {len(data)} bytes, before its header says")
    at = 20 + text + -text % 4
    size = int.from_bytes(data[at : at + 4], "little") if data[at + 4 : at + 8] == b"BIN\0" else 0
    return surface(scene_of(data[20 : 20 + text], "corrupt"), data[at + 8 : at + 8 + size], max_faces)


def read_gltf(data: bytes, max_faces: int) -> Surface:
    """glTF in text with all its data inside."""
    return surface(scene_of(data, "not_media"), b"", max_faces)


def scene_of(text: bytes, reason: Any) -> Scene:
    """The scene's description.

    Raises:
        Refused: `reason` where it is no JSON.
    """
    try:
        scene = json.loads(text.removeprefix(b"\xef\xbb\xbf").rstrip(b" \0\r\n\t"))
    except json.JSONDecodeError as error:
        ended = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        if b'"asset"' in text:
            reason = "corrupt"
        cut = ended and text.lstrip()[:1] == b"{"
        raise Refused("truncated" if cut else reason, f"no glTF: {error}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(reason, f"no glTF: {error}") from error
    if not isinstance(scene, dict) or not {"asset", "meshes", "buffers", "scenes"} & set(scene):
        raise Refused("not_media", "JSON, but no glTF")
    return scene


def surface(scene: Scene, data: bytes, max_faces: int) -> Surface:
    """What the scene shows."""
    try:
        check_scene(scene)
        buffers = [content(buffer, data) for buffer in scene.get("buffers", [])]
        return shown(scene, buffers, max_faces)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, struct.error) as error:
        kind = type(error).__name__
        raise Refused("corrupt", f"a description that does not hold: {kind}: {error}") from error


def check_scene(scene: Scene) -> None:
    """Refuse a scene without meshes, with data elsewhere, or of what cannot be read here."""
    version = str(scene.get("asset", {}).get("version", "2.0"))
    packed = COMPRESSED & set(scene.get("extensionsRequired", []))
    if not version.startswith("2") or packed:
        raise Refused("unsupported", f"glTF {version} with {sorted(packed)}")
    addresses: list[str] = [one.get("uri", "data:") for one in scene.get("buffers", [])]
    outer = [address for address in addresses if not address.startswith("data:")]
    if outer:
        raise Refused("external_ref", f"its data lie elsewhere: {outer[0][:200]!r}")
    if not scene.get("meshes"):
        raise Refused("no_content", "a scene without a mesh")


def content(buffer: Scene, data: bytes) -> bytes:
    """The bytes of a buffer: those behind the text, or those in its address."""
    if "uri" in buffer:
        try:
            data = base64.b64decode(buffer["uri"].partition(",")[2], validate=True)
        except binascii.Error as error:
            raise Refused("corrupt", f"its data are no base64: {error}") from error
    if len(data) < buffer["byteLength"]:
        raise Refused("truncated", f"{buffer['byteLength']} bytes of data promised, {len(data)} are there")
    return data


def shown(scene: Scene, buffers: list[bytes], max_faces: int) -> Surface:
    """Every mesh at every place."""
    meshes: dict[int, list[Surface]] = {}
    points: list[NDArray[np.float64]] = []
    faces: list[NDArray[np.int64]] = []
    vertices = made = 0
    for number, place in places(scene):
        if number not in meshes:
            primitives = scene["meshes"][number]["primitives"]
            parts = [primitive(one, scene, buffers, max_faces) for one in primitives]
            meshes[number] = [part for part in parts if part]
        for corners, triangles in meshes[number]:
            check_count(vertices + len(corners), made + len(triangles), max_faces)
            points.append(corners @ place[:3, :3].T + place[:3, 3])
            faces.append(triangles + vertices)
            vertices, made = vertices + len(corners), made + len(triangles)
            bad = len(triangles) and not 0 <= triangles.min() <= triangles.max() < len(corners)
            if bad:
                raise Refused("bad_index", f"a face refers to a vertex that is none of the {len(corners)}")
    return joined(points, faces)


def places(scene: Scene) -> Iterator[tuple[int, Matrix]]:
    """Number and place of each mesh that the scene shows; a node of two parents is shown twice."""
    nodes: list[Scene] = scene.get("nodes", [])
    waiting = [(root, np.eye(4), 0) for root in reversed(roots(scene, nodes))]
    for _ in range(MOST_PLACES):
        if not waiting:
            return
        number, outer, depth = waiting.pop()
        if depth > len(nodes):
            raise Refused("corrupt", "a node is its own parent")
        if number < 0:
            raise IndexError(f"node {number}")
        place = outer @ matrix(nodes[number]) if MOVES & set(nodes[number]) else outer
        if (mesh := nodes[number].get("mesh")) is not None:
            yield mesh, place
        waiting += [(child, place, depth + 1) for child in reversed(nodes[number].get("children", []))]
    raise Refused("too_large", f"a scene of more than {MOST_PLACES} places")


def roots(scene: Scene, nodes: list[Scene]) -> list[int]:
    """The nodes at which the scene begins: all without a parent, where no scene is named."""
    scenes = scene.get("scenes") or []
    if scenes:
        return scenes[scene.get("scene") or 0].get("nodes", [])
    children = {child for node in nodes for child in node.get("children", [])}
    return [number for number in range(len(nodes)) if number not in children]


def matrix(node: Scene) -> Matrix:
    """From the node's own space into its parent's."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = (float(value) for value in node.get("rotation", (0, 0, 0, 1)))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    place = np.eye(4)
    place[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64)
    place[:3, 3] = node.get("translation", (0, 0, 0))
    return place


def primitive(one: Scene, scene: Scene, buffers: list[bytes], max_faces: int) -> Surface | None:
    """Vertices and triangles of one part of a mesh; None where it is lines or points."""
    mode = one.get("mode", TRIANGLES)
    if mode not in (TRIANGLES, STRIP, FAN) or "POSITION" not in one["attributes"]:
        return None
    corners = accessor(one["attributes"]["POSITION"], scene, buffers, max_faces).astype(np.float64)
    if corners.shape[1] != 3:
        raise ValueError(f"positions of {corners.shape[1]} numbers")
    order = np.arange(len(corners))
    if "indices" in one:
        order = accessor(one["indices"], scene, buffers, max_faces)[:, 0].astype(np.int64)
    if mode == TRIANGLES:
        return corners, order.reshape(-1, 3)
    firsts = np.full(max(0, len(order) - 2), order[0]) if mode == FAN else order[:-2]
    return corners, np.stack([firsts, order[1:-1], order[2:]], axis=1)


def accessor(number: int, scene: Scene, buffers: list[bytes], max_faces: int) -> NDArray[Any]:
    """Rows of numbers [count, width]."""
    one = scene["accessors"][number]
    form, width = np.dtype(NUMBERS[one["componentType"]]), WIDTHS[one["type"]]
    count = one["count"]
    if "bufferView" in one:
        values = viewed(one["bufferView"], one.get("byteOffset", 0), form, (count, width), scene, buffers)
        check_count(0, count // 3, max_faces)
    else:
        check_count(0, count // 3, max_faces)
        values = np.zeros((count, width), form)
    if sparse := one.get("sparse"):
        values = values.copy()
        at, new = sparse["indices"], sparse["values"]
        places_form, offset = np.dtype(NUMBERS[at["componentType"]]), at.get("byteOffset", 0)
        rows = viewed(at["bufferView"], offset, places_form, (sparse["count"], 1), scene, buffers)[:, 0]
        shape = (sparse["count"], width)
        values[rows] = viewed(new["bufferView"], new.get("byteOffset", 0), form, shape, scene, buffers)
    if one.get("normalized") and form.kind in "iu":
        return np.maximum(values / np.iinfo(form).max, -1.0)
    return values


def viewed(
    number: int, offset: int, form: np.dtype[Any], shape: tuple[int, int], scene: Scene, buffers: list[bytes]
) -> NDArray[Any]:
    """Numbers that lie in a buffer, next to each other or with a stride."""
    view = scene["bufferViews"][number]
    data, start, length = buffers[view["buffer"]], view.get("byteOffset", 0), view["byteLength"]
    count, width = shape
    stride = view.get("byteStride") or width * form.itemsize
    if min(count, offset, start, length, stride) < 0:
        raise ValueError("a length below 0")
    needed = offset + stride * (count - 1) + width * form.itemsize if count else 0
    if needed > length or start + length > len(data):
        raise Refused("truncated", f"{needed} bytes at {start} promised in {len(data)} bytes of data")
    return np.ndarray(shape, form, data, start + offset, (stride, form.itemsize))
