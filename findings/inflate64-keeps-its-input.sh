#!/bin/sh
# inflate64 1.0.4 (the Deflate64 decompressor of py7zr): Inflater.inflate() never lets go of the buffer it is given.
# Seen: a bytearray that was inflated once cannot be resized any more ("Existing exports of data"), even after the
# Inflater is gone; and each bytes object stays, so that memory grows by all the input that was ever inflated.
# Therefore flows/archives/deflate64.py feeds it from buffers that are used again.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check inflate64==1.0.4
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import inflate64

deflater = inflate64.Deflater()
packed = bytearray(deflater.deflate(b"some text " * 1000) + deflater.flush())
inflater = inflate64.Inflater()
assert inflater.inflate(packed) == b"some text " * 1000
del inflater
try:
    packed.append(0)
except BufferError as error:
    print("after inflate():", error)
else:
    sys.exit("CHANGED: the buffer is free again")

data = bytes(packed)
before = sys.getrefcount(data)
for _ in range(100):
    inflate64.Inflater().inflate(data)
kept = sys.getrefcount(data) - before
print("references kept by 100 calls:", kept)
sys.exit(None if kept == 100 else f"CHANGED: {kept} references instead of 100")
PYTHON
