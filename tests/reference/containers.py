#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of tensors as NumPy, PyTorch and safetensors write them, and some that nobody should write.

Every array or tensor named NAME of shape S holds what golden() says for (NAME, S), so that the test can compute it as well:
element i in row-major order is ((i * 37 + len(NAME) * 11) % 101 - 50) / 4, rounded to the type; unsigned and bool types take
the remainder (i * 37 + len(NAME) * 11) % 101 instead. All are exact in binary16 and bfloat16.

    tests/reference/containers.py            writes tests/data/containers
"""
import io
import json
import os
import pickle
import struct
import sys
import zipfile

try:
    import numpy as np
    import safetensors.torch
    import torch
except ImportError as missing:
    sys.exit(f"{missing.name} is not installed: nothing was written")

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "containers")


def golden(name, shape, dtype):
    i = np.arange(int(np.prod(shape)), dtype=np.int64)
    whole = (i * 37 + len(name) * 11) % 101
    dtype = np.dtype(dtype)
    if dtype.kind in "ub":
        x = whole
    elif dtype.kind == "i":
        x = whole - 50
    else:
        x = (whole - 50) / 4
    return x.reshape(shape).astype(dtype)


def tensor(name, shape, dtype=torch.float32):
    if dtype == torch.bfloat16:
        return torch.from_numpy(golden(name, shape, "f4")).to(dtype)
    return torch.from_numpy(golden(name, shape, str(dtype).removeprefix("torch."))).clone()


def path(name):
    return os.path.join(OUT, name)


def write(name, data):
    with open(path(name), "wb") as f:
        f.write(data)


def npy_bytes(array, version=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version, allow_pickle=True)
    return out.getvalue()


# ---- NumPy. ----

def arrays():
    for dtype in ["f4", "f2", "f8", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]:
        kind = np.dtype(dtype)
        name = {"?": "bool"}.get(dtype, dtype)
        write(f"{name}.npy", npy_bytes(golden("data", (5, 3), kind)))
    write("fortran.npy", npy_bytes(np.asfortranarray(golden("data", (5, 3), "f4"))))
    write("fortran3.npy", npy_bytes(np.asfortranarray(golden("data", (4, 3, 5), "f2"))))
    write("big_endian.npy", npy_bytes(golden("data", (5, 3), "f8").astype(">f8")))
    write("version2.npy", npy_bytes(golden("data", (5, 3), "f4"), (2, 0)))
    write("version3.npy", npy_bytes(golden("data", (5, 3), "f4"), (3, 0)))
    write("scalar.npy", npy_bytes(golden("data", (), "f8")))
    write("empty.npy", npy_bytes(golden("data", (0, 3), "f4")))
    write("objects.npy", npy_bytes(np.array([{"a": 1}], dtype=object)))
    write("records.npy", npy_bytes(np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])))


def named(names):
    return {name: golden(name, shape, dtype) for name, shape, dtype in names}


MEMBERS = [("W_enc", (6, 40), "f4"), ("b_enc", (40,), "f4"), ("W_dec", (40, 6), "f2"), ("k", (), "i8")]


def archives():
    np.savez(path("stored.npz"), **named(MEMBERS), activation=np.array("relu"))
    compressed = named(MEMBERS)
    compressed["W_enc"] = np.asfortranarray(compressed["W_enc"])
    np.savez_compressed(path("deflated.npz"), **compressed)
    # Over 1 MiB inflated, a few KB here: it goes through a file when it is read.
    large = (np.arange(700 * 400) % 8).reshape(700, 400).astype("f4")
    np.savez_compressed(path("large.npz"), large=np.asfortranarray(large))
    # As streaming writers do: zip64 records although nothing is large.
    with zipfile.ZipFile(path("zip64.npz"), "w") as z:
        with z.open("W_enc.npy", "w", force_zip64=True) as f:
            f.write(npy_bytes(golden("W_enc", (6, 40), "f4")))


# ---- PyTorch. ----

def checkpoints():
    w = tensor("transposed", (7, 5))
    storage = torch.zeros(100)
    storage[10:45] = tensor("first", (35,))
    storage[45:100] = tensor("second", (55,))
    torch.save({
        "state_dict": {"encoder.weight": torch.nn.Parameter(tensor("state_dict.encoder.weight", (4, 3)))},
        # transposed is stored as its transpose; slices skip columns.
        "transposed": w.t().contiguous().t(),
        "slice": torch.cat([torch.full((6, 2), 9.0), tensor("slice", (6, 4)), torch.full((6, 1), 9.0)], 1)[:, 2:6],
        "first": storage[10:45], "second": storage[45:100].view(5, 11),
        "repeated": tensor("repeated", (1, 3)).expand(4, 3),
        "cube": tensor("cube", (2, 3, 4)).permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "list": [1, tensor("list.1", (2,)), {"deep": tensor("list.2.deep", (3,))}],
        **{str(t).removeprefix("torch."): tensor(str(t).removeprefix("torch."), (3, 2), t)
           for t in [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
                     torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64]},
        "scalar": tensor("scalar", (), torch.float64),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "five": torch.zeros(1, 1, 1, 1, 1),
        "float8": torch.zeros(2).to(torch.float8_e4m3fn),
        "activation": "TopK", "activation_state_dict": {"k": 32, "postact_fn": "ReLU"},
        "dtype": torch.bfloat16, "device": torch.device("cuda", 1), "size": torch.Size([3, 4]),
        "int": -5, "wide": 1 << 40, "huge": 1 << 70, "negative": -(1 << 33), "real": 0.25, "nan": float("nan"),
        "none": None, "yes": True, "no": False, "tuple": (1, "two", (3.5,)), "set": {7}, "bytes": b"ab\xff",
        "numpy": np.float64(2.5), "numpy_int": np.int64(-7), "numpy_bool": np.bool_(True), "text": "h\u00e9\u4e16",
        "keys": {3: "int", (1, "a"): "tuple", None: "none"},
    }, path("types.pt"))
    torch.save(tensor("data", (4, 3)), path("alone.pt"))
    torch.save({"w": tensor("w", (2, 2))}, path("protocol4.pt"), pickle_protocol=4)
    torch.save({"w": tensor("w", (2, 2))}, path("bare.pt"), _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(2, 2), path("module.pt"))
    with zipfile.ZipFile(path("alone.pt")) as plain, \
            zipfile.ZipFile(path("deflated.pt"), "w", zipfile.ZIP_DEFLATED) as out:
        for name in plain.namelist():
            out.writestr(name, plain.read(name))


# ---- What is refused. ----

class Call:
    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


def archive(name, entries):
    with zipfile.ZipFile(path(name), "w") as z:
        for entry, data in entries.items():
            z.writestr(entry, data)


def checkpoint(name, data, storages=None, byteorder="little"):
    archive(name, {"x/data.pkl": data, "x/byteorder": byteorder,
                   **{f"x/data/{k}": v for k, v in (storages or {}).items()}})


def tensor_pickle(offset=0, size=(2, 2), stride=(2, 1), elements=4, type_name="FloatStorage", key="0"):
    """A tensor's pickle by hand: protocol 2, {"w": _rebuild_tensor_v2(storage, offset, size, stride, False, None)}."""
    def number(n):
        return b"\x8a" + bytes([(n.bit_length() + 8) // 8]) + n.to_bytes((n.bit_length() + 8) // 8, "little", signed=True)

    def text(s):
        return b"X" + struct.pack("<I", len(s)) + s.encode()

    def tuple_of(items):
        return b"(" + b"".join(number(n) for n in items) + b"t"
    return (b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(("
            + text("storage") + b"ctorch\n" + type_name.encode() + b"\n" + text(key) + text("cpu") + number(elements)
            + b"tQ" + number(offset) + tuple_of(size) + tuple_of(stride) + b"\x89NtRs.")


def hostile():
    data = {"0": bytes(16)}
    checkpoint("system.pt", pickle.dumps(Call(os.system, "touch /tmp/saescope-was-here"), 2))
    checkpoint("eval.pt", pickle.dumps({"w": Call(eval, "1+1")}, 4))
    checkpoint("getattr.pt", pickle.dumps(Call(getattr, torch.nn.Module, "x"), 2))
    checkpoint("big_endian.pt", tensor_pickle(), data, "big")
    checkpoint("good.pt", tensor_pickle(), data)
    checkpoint("beyond.pt", tensor_pickle(offset=1), data)
    checkpoint("stride.pt", tensor_pickle(stride=(3, 1)), data)
    checkpoint("wrap.pt", tensor_pickle(size=(2, 1 << 62), stride=(4, 1 << 62)), data)
    checkpoint("negative.pt", tensor_pickle(offset=-4), data)
    checkpoint("lying.pt", tensor_pickle(elements=400), data)
    checkpoint("endless.pt", tensor_pickle(size=(1 << 40,), stride=(0,)), data)
    checkpoint("missing.pt", tensor_pickle(key="1"), data)
    checkpoint("callable.pt", tensor_pickle(type_name="Size"), data)
    checkpoint("deep.pt", b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".")
    # Ten lists, each of ten times the one before: 10^10 numbers in 300 bytes.
    laughs, previous = b"\x80\x02K\x01q\x00", 0
    for level in range(1, 11):
        laughs += b"](" + bytes([ord("h"), previous]) * 10 + b"eq" + bytes([level])
        previous = level
    checkpoint("laughs.pt", laughs + b".")
    # A list that is its own item.
    checkpoint("loop.pt", b"\x80\x02]q\x00h\x00a.")
    checkpoint("twice.pt", b"\x80\x02}(X\x01\0\0\0aK\x01X\x01\0\0\0aK\x02u.")
    checkpoint("short.pt", tensor_pickle()[:-20], data)

    array = npy_bytes(golden("W", (4, 4), "f4"))

    def lying_npy(shape):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return b"\x93NUMPY\x01\0" + struct.pack("<H", 118) + header.encode() + bytes(64)
    write("huge.npy", lying_npy("(4294967296, 4294967296)"))
    write("large.npy", lying_npy("(1048576, 1048576)"))
    write("many.npy", lying_npy("(" + "1, " * 20 + ")"))
    write("minus.npy", lying_npy("(-4, 4)"))
    write("truncated.npy", array[:-1])
    write("longer.npy", array + b"\0")
    archive("lying.npz", {"W.npy": lying_npy("(1048576, 1048576)")})
    # 4 MiB of zeros in 4 KB, called 16 numbers.
    with zipfile.ZipFile(path("bomb.npz"), "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("W.npy", array[:128] + bytes(1 << 22))
    # The directory tells the truth about 16 numbers, and the stream goes on for 1 MiB.
    with zipfile.ZipFile(path("longer.npz"), "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("W.npy", array + bytes(1 << 20))
    data = bytearray(open(path("longer.npz"), "rb").read())
    at = data.rindex(b"PK\1\2")
    data[at + 24:at + 28] = struct.pack("<I", len(array))
    write("longer.npz", data)
    # One bit of W_enc's numbers is another.
    data = bytearray(open(path("stored.npz"), "rb").read())
    data[data.index(golden("W_enc", (6, 40), "f4").tobytes()) + 9] ^= 1
    write("checksum.npz", data)
    stored = open(path("stored.npz"), "rb").read()
    write("truncated.npz", stored[:-30])
    archive("plain.zip", {"readme.txt": "nothing"})
    with zipfile.ZipFile(path("lzma.npz"), "w", zipfile.ZIP_LZMA) as z:
        z.writestr("W.npy", array)


# ---- Several files. ----

def torch_name(shard):
    return shard.replace("model-", "pytorch_model-").replace(".safetensors", ".bin")


def shards():
    folder = path("sharded")
    os.makedirs(folder, exist_ok=True)
    files = {"model-00001-of-00002.safetensors": {"a": tensor("a", (3, 4)), "b": tensor("b", (5,), torch.bfloat16)},
             "model-00002-of-00002.safetensors": {"c": tensor("c", (2, 2), torch.float16)}}
    for name, tensors in files.items():
        safetensors.torch.save_file(tensors, os.path.join(folder, name), metadata={"format": "pt"})
        torch.save(tensors, os.path.join(folder, torch_name(name)))
    with open(os.path.join(folder, "f4.npy"), "wb") as f:
        f.write(npy_bytes(golden("a", (3, 4), "f4")))
    places = {t: name for name, tensors in files.items() for t in tensors}
    one, two = files

    def index(name, weight_map):
        with open(os.path.join(folder, name), "w") as f:
            json.dump({"metadata": {"total_size": 66}, "weight_map": weight_map}, f, indent=1)
            f.write("\n")
    index("model.safetensors.index.json", places)
    index("disagree.json", {**places, "a": two})
    index("absent.json", {**places, "d": two})
    index("missing.json", {**places, "d": "model-00003-of-00003.safetensors"})
    index("outside.json", {**places, "a": "../sharded/" + one})
    index("absolute.json", {**places, "a": "/etc/passwd"})
    index("nothing.json", {})
    index("number.json", {"a": 3})
    index("itself.json", {**places, "d": "itself.json"})
    index("array.json", {**places, "d": "f4.npy"})
    index("text.json", {**places, "d": "text.txt"})
    with open(os.path.join(folder, "text.txt"), "w") as f:
        f.write("text, not tensors\n")
    in_torch = {t: torch_name(name) for t, name in places.items()}
    index("pytorch_model.bin.index.json", in_torch)
    index("disagree-torch.json", {**in_torch, "a": torch_name(two)})
    index("absent-torch.json", {**in_torch, "d": torch_name(two)})
    index("mixed.json", {**places, "c": torch_name(two)})


os.makedirs(OUT, exist_ok=True)
arrays()
archives()
checkpoints()
hostile()
shards()
