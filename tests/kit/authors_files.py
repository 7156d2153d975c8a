"""Files of exactly the format of the authors': arrays that `numpy.save` wrote under Python 2.7, from stated seeds."""

import json
import struct
from pathlib import Path

import numpy as np
from keras_arrays import drawn

#: Order and shapes of the arrays of four networks, and what real Keras gave for them.
ORDER = json.loads((Path(__file__).parents[1] / "data" / "keras_order.json").read_text(encoding="utf-8"))["networks"]


def arrays(order, first_seed=5000):
    """Array i of `get_weights()` in float32, drawn from its own RandomState; `order` has lines such as "weight 96 3 3 3"."""
    lines = (line.split() for line in order)
    return [drawn(kind, first_seed + i, tuple(map(int, shape))) for i, (kind, *shape) in enumerate(lines)]


def inputs():
    """Three images [3, 3, 32, 32] in 0..255, in float64."""
    return np.random.RandomState(7).uniform(0, 255, (3, 3, 32, 32))


class Python2:
    """What cPickle of Python 2.7 writes with protocol 2 for a list of float32 arrays; `saved` is that of numpy.save 1.15."""

    def __init__(self):
        self.out, self.memo = bytearray(b"\x80\x02"), {}

    def pickled(self, values):
        self._list(values)
        return bytes(self.out + b".")

    def saved(self, values):
        header = f"{{'descr': '|O', 'fortran_order': False, 'shape': ({len(values)},), }}".encode()
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        self._array((len(values),), "O8", lambda: self._list(values))
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(self.out + b".")

    def _list(self, values):
        self.out += b"]"
        self._remember(object())
        self.out += b"("
        for value in values:
            self._array(value.shape, "f4", lambda value=value: self._bytes(value.tobytes()))
        self.out += b"e"

    def _array(self, shape, code, content):
        self._global("numpy.core.multiarray", "_reconstruct")
        self._global("numpy", "ndarray")
        self.out += b"K\x00\x85U\x01b\x87R"
        self._remember(object())
        self.out += b"(K\x01"
        self._tuple(shape)
        self._dtype(code)
        self.out += b"\x89"
        content()
        self.out += b"tb"

    def _dtype(self, code):
        if self._recalled(code):
            return
        self._global("numpy", "dtype")
        self._bytes(code.encode())
        self.out += b"K\x00K\x01\x87R"
        self._remember(code)
        self.out += b"(K\x03"
        self._bytes(b"|" if code == "O8" else b"<")
        self.out += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + (b"\x3f" if code == "O8" else b"\x00") + b"tb"

    def _tuple(self, numbers):
        if len(numbers) > 3:
            self.out += b"("
        for number in numbers:
            self.out += struct.pack("<BB", ord("K"), number) if number < 256 else struct.pack("<BH", ord("M"), number)
        self.out += b"t" if len(numbers) > 3 else bytes([0x84 + len(numbers)])

    def _bytes(self, content):
        short = len(content) < 256
        self.out += (b"U" + bytes([len(content)]) if short else b"T" + struct.pack("<i", len(content))) + content

    def _global(self, module, name):
        if not self._recalled((module, name)):
            self.out += f"c{module}\n{name}\n".encode()
            self._remember((module, name))

    def _remember(self, key):
        number = self.memo[key] = len(self.memo) + 1
        self.out += b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<i", number)

    def _recalled(self, key):
        if key in self.memo:
            number = self.memo[key]
            self.out += b"h" + bytes([number]) if number < 256 else b"j" + struct.pack("<i", number)
        return key in self.memo
