"""A small docking, and a configuration like the one that the original gives for HADDOCK3."""

import math

# Where the atoms of an alpha helix are: distance from the axis in Å, angle in degrees, height in Å.
HELIX = {
    "N": (1.56, -26.5, -0.91),
    "CA": (2.30, 0.0, 0.0),
    "C": (1.71, 27.2, 1.05),
    "O": (1.99, 21.5, 2.23),
    "CB": (3.35, 16.4, -0.78),
}
TURN, RISE = 98.62, 1.53  # from one residue to the next
RESIDUES = ["ALA", "GLU", "LEU", "LYS"] * 4


def helix(residues: list[str], chain: str) -> str:
    """Return a PDB file without the ends of side chains, which CNS builds."""
    lines: list[str] = []
    for number, residue in enumerate(residues):
        for atom, (radius, degrees, height) in HELIX.items():
            angle = math.radians(TURN * number + degrees)
            x, y, z = radius * math.cos(angle), radius * math.sin(angle), RISE * number + height
            lines.append(
                f"ATOM  {len(lines) + 1:5}  {atom:<3} {residue} {chain}{number + 1:4}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {atom[0]:>2}\n"
            )
    return "".join([*lines, "END\n"])


WORKFLOW = """
run_dir = "output"
molecules = ["one.pdb", "two.pdb"]
ncores = 2
offline = true
[topoaa]
[rigidbody]
ambig_fname = "contacts.tbl"
sampling = 6
[caprieval]
[clustfcc]
min_population = 1
[caprieval]
[emref]
ambig_fname = "contacts.tbl"
[rmsdmatrix]
[clustrmsd]
min_population = 1
[caprieval]
"""
CONTACTS = "".join(
    f"assign (resid {number} and segid A) ((resid 6 and segid B) or (resid 10 and segid B)) 2.0 2.0 0.0\n"
    for number in (7, 11)
)
FILES = {
    "workflow.cfg": WORKFLOW,
    "contacts.tbl": CONTACTS,
    "one.pdb": helix(RESIDUES, "A"),
    "two.pdb": helix(RESIDUES[::-1], "B"),
}

# What clients of the original send. The reports need no network: `--offline True`, as in the workflow.
CONFIG = """
applications:
  haddock3: {command_template: haddock3 workflow.cfg, upload_needs: [workflow.cfg]}
  runimport: {command_template: mkdir output; mv * output; true}
destinations:
  local:
    scheduler: {type: memory, slots: 1}
    filesystem: {type: local}
interactive_applications:
  accessible:
    command_template: haddock3-restraints calc_accessibility {{ pdb }} --cutoff {{ cutoff }}
    timeout: 60
    input_schema:
      type: object
      additionalProperties: false
      properties: {pdb: {type: string}, cutoff: {type: number}}
      required: [pdb, cutoff]
  restrain:
    command_template: >
      haddock3-restraints active_passive_to_ambig {{ one }} {{ two }} > made.tbl
      && haddock3-restraints validate_tbl made.tbl --silent
    timeout: 60
    input_schema:
      type: object
      additionalProperties: false
      properties:
        one: &residues {type: string, contentMediaType: text/plain}
        two: *residues
      required: [one, two]
  rescore:
    command_template: >
      haddock3-re score {{ capri_dir }} --w_elec {{ w_elec }} --w_vdw {{ w_vdw }}
      --w_desolv {{ w_desolv }} --w_bsa {{ w_bsa }} --w_air {{ w_air }} && ANALYSE
    timeout: 60
    input_schema:
      type: object
      additionalProperties: false
      properties:
        module_nr: {type: number}
        capri_dir: {type: string}
        w_elec: {type: number}
        w_vdw: {type: number}
        w_desolv: {type: number}
        w_bsa: {type: number}
        w_air: {type: number}
      required: [module_nr, capri_dir, w_elec, w_vdw, w_desolv, w_bsa, w_air]
  reclustrmsd:
    command_template: >
      haddock3-re clustrmsd {{ clustrmsd_dir }} --plot_matrix
      {% if criterion == "maxclust" %} --n_clusters {{ n_clusters }}
      {% else %} --clust_cutoff {{ clust_cutoff }} {% endif %}
      {% if min_population %} --min_population {{ min_population }} {% endif %} && ANALYSE
    timeout: 60
    input_schema:
      type: object
      additionalProperties: false
      properties:
        module_nr: {type: number}
        clustrmsd_dir: {type: string}
        criterion: {enum: [maxclust, distance]}
        n_clusters: {type: number}
        clust_cutoff: {type: number}
        min_population: {type: number}
      required: [module_nr, clustrmsd_dir, criterion]
  reclustfcc:
    command_template: >
      haddock3-re clustfcc {{ clustfcc_dir }} --plot_matrix --clust_cutoff {{ clust_cutoff }}
      --strictness {{ strictness }} --min_population {{ min_population }} && ANALYSE
    timeout: 60
    input_schema:
      type: object
      additionalProperties: false
      properties:
        module_nr: {type: number}
        clustfcc_dir: {type: string}
        clust_cutoff: {type: number}
        strictness: {type: number}
        min_population: {type: number}
      required: [module_nr, clustfcc_dir, clust_cutoff, strictness, min_population]
""".replace(
    "ANALYSE", "haddock3-analyse -r output -m {{ module_nr }} --inter True --is_cleaned True --offline True"
)
