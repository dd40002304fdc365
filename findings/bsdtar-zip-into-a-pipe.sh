#!/bin/sh
# bsdtar 3.6.2 (libarchive; Debian's libarchive-tools): a zip that goes into a pipe is filled up with zeros to a multiple
# of 10240 bytes, as a tar is. Into a file, the same command writes none.
# Seen: README.md of 6 bytes gives 10240 bytes, whose end is followed by zeros; unzip and zipfile take it.
# Therefore zeros up to a whole record may follow the end of a zip.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -qq download libarchive-tools=3.6.2-1+deb12u4 libarchive13=3.6.2-1+deb12u4
for package in *.deb; do dpkg -x "$package" root; done
LD_LIBRARY_PATH=$(dirname "$(find root -name 'libarchive.so.13' | head -n 1)")
export LD_LIBRARY_PATH
root/usr/bin/bsdtar --version
echo hello > README.md
root/usr/bin/bsdtar --format zip -cf file.zip README.md
root/usr/bin/bsdtar --format zip -cf - README.md | cat > pipe.zip
python3 - <<'PYTHON'
import sys, zipfile

sizes = {}
for name in ("file.zip", "pipe.zip"):
    content = open(name, "rb").read()
    assert zipfile.ZipFile(name).read("README.md") == b"hello\n"
    behind = content[content.rindex(b"PK\5\6") + 22 :]
    assert not behind.strip(b"\0")
    sizes[name] = len(content), len(behind)
print("bytes in all and behind the end:", sizes)
if sizes["pipe.zip"][0] != 10240 or sizes["file.zip"][1] != 0:
    sys.exit("CHANGED")
PYTHON
