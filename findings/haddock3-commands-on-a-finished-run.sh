#!/bin/sh
# HADDOCK3 2026.10.1, its commands for a run that has ended. Takes minutes and 500 MB, needs g++ and Python's headers.
# 1. `haddock3-re score` and `haddock3-re clustfcc` write a capri_clt.tsv with less in it than the one of caprieval.
#    Seen: the columns ilrmsd and rmsd and their _std are gone; under_eval, "yes" for clusters of fewer than four models,
#    is "-" for clusters of one to three. capri_ss.tsv keeps its columns. `haddock3-analyse` warns "quantity ilrmsd
#    not present in capri table".
# 2. `haddock3-analyse --is_cleaned True` of a clustering that no caprieval directly precedes unpacks the models of the
#    step before, removes their .pdb.gz, evaluates, and compresses them anew.
#    Seen: for the seconds that this takes, there is rigidbody_1.pdb and no rigidbody_1.pdb.gz. Afterwards each .pdb.gz
#    has other bytes: another time in gzip's header, the same within.
# Therefore an interactive application may write files of earlier steps again, not only files of its own. Commands on
# one job take turns, downloads do not: an archive that is made meanwhile may lack models, and two archives of one job
# may differ though the models do not. A visitor who compares clusters by ilrmsd or under_eval needs caprieval's table.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
export PATH="$folder/venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1
pip download --quiet --no-deps --no-binary=haddock3 haddock3==2026.10.1
tar -xf haddock3-2026.10.1.tar.gz
# Its build would fetch a program that nothing here runs.
grep -qx '        self\.download_binaries()' haddock3-2026.10.1/setup.py
sed -i '/^        self\.download_binaries()$/d' haddock3-2026.10.1/setup.py
pip install --quiet ./haddock3-2026.10.1 biopython==1.88 freesasa==2.2.1 gdock==0.5.0 jsonpickle==4.1.4 \
    narwhals==2.29.0 numpy==2.4.6 packaging==26.4 pandas==2.3.3 pdb-tools==2.7.0 plotly==7.0.0 prodigy-lig==1.1.4 \
    prodigy-prot==2.3.0 psutil==7.2.2 python-dateutil==4.0.0 pytz==2026.6 pyyaml==6.0.4 scipy==1.17.1 toml==0.10.2 \
    tzdata==2026.6
cat > workflow.cfg <<'WORKFLOW'
run_dir = "run"
molecules = ["one.pdb", "two.pdb"]
ncores = 2
offline = true
[topoaa]
[rigidbody]
ambig_fname = "contacts.tbl"
sampling = 3
[rmsdmatrix]
[clustrmsd]
min_population = 1
[caprieval]
[clustfcc]
min_population = 1
WORKFLOW
cat > contacts.tbl <<'CONTACTS'
assign (resid 7 and segid A) ((resid 6 and segid B) or (resid 10 and segid B)) 2.0 2.0 0.0
assign (resid 11 and segid A) ((resid 6 and segid B) or (resid 10 and segid B)) 2.0 2.0 0.0
CONTACTS
python - <<'PYTHON'
import csv, gzip, math, subprocess, sys, time
from pathlib import Path

# Atoms of an alpha helix: distance from the axis in Å, angle in degrees, height in Å. CNS builds the side chains.
ATOMS = {
    "N": (1.56, -26.5, -0.91),
    "CA": (2.30, 0.0, 0.0),
    "C": (1.71, 27.2, 1.05),
    "O": (1.99, 21.5, 2.23),
    "CB": (3.35, 16.4, -0.78),
}


def helix(residues, chain):
    lines = []
    for number, residue in enumerate(residues):
        for atom, (radius, degrees, height) in ATOMS.items():
            angle = math.radians(98.62 * number + degrees)
            x, y, z = radius * math.cos(angle), radius * math.sin(angle), 1.53 * number + height
            lines.append(
                f"ATOM  {len(lines) + 1:5}  {atom:<3} {residue} {chain}{number + 1:4}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {atom[0]:>2}\n"
            )
    return "".join([*lines, "END\n"])


def haddock(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def clusters(step):
    lines = Path("run", step, "capri_clt.tsv").read_text().splitlines()
    return list(csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t"))


def under_eval(rows):
    return [(row["n"], row["under_eval"]) for row in rows]


residues = ["ALA", "GLU", "LEU", "LYS"] * 4
Path("one.pdb").write_text(helix(residues, "A"))
Path("two.pdb").write_text(helix(residues[::-1], "B"))
haddock("haddock3", "workflow.cfg")
changed = []

# 1. Tables of clusters.
haddock("haddock3-re", "score", "run/4_caprieval", "--w_elec", "2")
haddock("haddock3-re", "clustfcc", "run/5_clustfcc")
before = clusters("4_caprieval")
print("4_caprieval: models of each cluster and under_eval:", under_eval(before))
for step in ("4_caprieval_interactive", "5_clustfcc_interactive"):
    after = clusters(step)
    missing = [column for column in before[0] if column not in after[0]]
    print(f"{step}: {under_eval(after)}, without {missing}")
    if missing != ["ilrmsd", "ilrmsd_std", "rmsd", "rmsd_std"]:
        changed.append(f"columns that {step} lacks")
    if {row["under_eval"] for row in before} != {"yes"} or {row["under_eval"] for row in after} != {"-"}:
        changed.append(f"under_eval of {step}")
said = haddock("haddock3-analyse", "-r", "run", "-m", "4", "--inter", "True", "--offline", "True")
warnings = [line.partition("WARNING] ")[2] for line in said.splitlines() if "WARNING] quantity" in line]
print("haddock3-analyse warns:", warnings)
if warnings != ["quantity ilrmsd not present in capri table"]:
    changed.append("the warning")

# 2. Models of an earlier step.
models = sorted(Path("run/1_rigidbody").glob("*.pdb.gz"))
packed = [model.read_bytes() for model in models]
missed = set()
haddock("haddock3-re", "clustrmsd", "run/3_clustrmsd", "--n_clusters", "2", "--min_population", "1")
analyse = ["haddock3-analyse", "-r", "run", "-m", "3", "--inter", "True", "--is_cleaned", "True", "--offline", "True"]
with open("analyse.log", "w") as log:
    running = subprocess.Popen(analyse, stdout=log, stderr=log)
    while running.poll() is None:
        missed.update(model.name for model in models if not model.exists())
        time.sleep(0.01)
if running.returncode or len(models) != 3:
    sys.exit(f"{analyse} ended with {running.returncode}: {Path('analyse.log').read_text()[-2000:]}")
print("meanwhile not there:", sorted(missed))
again = [model.read_bytes() for model in models]
same = list(map(gzip.decompress, packed)) == list(map(gzip.decompress, again))
header = [old[:4] + old[8:] == new[:4] + new[8:] for old, new in zip(packed, again)]
print("models with other bytes afterwards:", sum(old != new for old, new in zip(packed, again)), "of", len(models))
print("the same when unpacked:", same, "- the same but for the time in gzip's header:", all(header))
if len(missed) != len(models):
    changed.append("the models stay where they are")
if any(old == new for old, new in zip(packed, again)) or not same:
    changed.append("bytes of the models")

if changed:
    sys.exit(f"CHANGED: {', '.join(changed)}")
PYTHON
