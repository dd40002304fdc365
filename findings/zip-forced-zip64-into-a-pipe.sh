#!/bin/sh
# Info-ZIP zip 3.0 (Debian 3.0-13): with -fz (ZIP64 for all) and a pipe as its output it writes an end whose offset is
# 0xFFFFFFFF, which means "see the ZIP64 end", and no ZIP64 end. It says nothing and exits with 0. Into a file, the
# same command writes a good archive. Seen: unzip 6.0 says that four thousand million bytes are missing, Python's zipfile cannot open it.
# Therefore such an upload is refused as damaged, and nothing is guessed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -qq download zip=3.0-13
dpkg -x zip_3.0-13_*.deb zip
echo hello > README.md
zip/usr/bin/zip -q -fz file.zip README.md
zip/usr/bin/zip -q -fz - README.md | cat > pipe.zip
python3 - <<'PYTHON'
import struct, sys, zipfile

assert zipfile.ZipFile("file.zip").read("README.md") == b"hello\n"
content = open("pipe.zip", "rb").read()
offset = struct.unpack_from("<L", content, content.rindex(b"PK\5\6") + 16)[0]
print("offset of the directory:", hex(offset), "- ZIP64 ends:", content.count(b"PK\6\6"))
try:
    zipfile.ZipFile("pipe.zip").read("README.md")
except (OSError, zipfile.BadZipFile, ValueError) as error:
    print("zipfile:", error)
else:
    sys.exit("CHANGED: the archive can be read")
if offset != 0xFFFFFFFF or b"PK\6\6" in content:
    sys.exit("CHANGED: another end")
PYTHON
