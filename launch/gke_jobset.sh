#!/usr/bin/env bash
# Fills gke_jobset.yaml and hands it to kubectl.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: gke_jobset.sh [options] -- FLAGS OF n2uq_jax.main

  --name NAME            of the JobSet (default: n2uq)
  --image IMAGE          a container with Python, jax[tpu] and n2uq_jax[train]
  --accelerator A        such as tpu-v5-lite-podslice or tpu-v4-podslice
  --topology T           of a slice, such as 4x4 or 2x2x4
  --chips-per-host C     (default: 4)
  --slices S             (default: 1); with more, add --config.mesh.slices=S to the flags
  --claim CLAIM          persistent volume claim, mounted at /data (ReadWriteMany)
  --max-restarts R       (default: 100)
  --dry-run              print the filled YAML only

example: gke_jobset.sh --image IMAGE --accelerator tpu-v5-lite-podslice --topology 4x4 \
           --claim filestore -- --config resnet18_w2a2 --workdir /data/runs/r18
EOF
}

fail() {
  echo "gke_jobset.sh: $1" >&2
  exit 2
}

# Writes the arguments as a YAML flow sequence of double-quoted strings.
yaml_list() {
  local separator='' argument
  printf '['
  for argument in "$@"; do
    [[ $argument != *[[:cntrl:]]* ]] || fail 'a flag holds a control character'
    argument=${argument//\\/\\\\}
    printf '%s"%s"' "$separator" "${argument//\"/\\\"}"
    separator=', '
  done
  printf ']'
}

declare -A fields=(
  [NAME]=n2uq [IMAGE]='' [ACCELERATOR]='' [TOPOLOGY]='' [CHIPS_PER_HOST]=4 [SLICES]=1 [CLAIM]=''
  [MAX_RESTARTS]=100
)
dry_run=false
while (($#)); do
  case $1 in
    --dry-run) dry_run=true ;;
    -h | --help) usage && exit 0 ;;
    --) break ;;
    --?*)
      field=${1#--}
      field=${field//-/_}
      field=${field^^}
      [[ -v fields[$field] ]] || fail "unknown option $1; flags of n2uq_jax.main come after --"
      [[ -n ${2-} && $2 != -- ]] || fail "$1 lacks its value"
      [[ $2 =~ ^[A-Za-z0-9._:/@-]+$ ]] || fail "$1 must be a plain word, got '$2'"
      fields[$field]=$2
      shift
      ;;
    *) fail "unexpected argument '$1'" ;;
  esac
  shift
done
[[ ${1-} == -- && $# -gt 1 ]] || fail 'the flags of n2uq_jax.main are missing: gke_jobset.sh -- FLAGS'
shift
for field in IMAGE ACCELERATOR TOPOLOGY CLAIM; do
  [[ -n ${fields[$field]} ]] || fail "--${field,,} is missing"
done
for field in CHIPS_PER_HOST SLICES MAX_RESTARTS; do
  [[ ${fields[$field]} =~ ^[1-9][0-9]*$ ]] || fail "$field must be a positive integer"
done
[[ ${fields[TOPOLOGY]} =~ ^[1-9][0-9]*(x[1-9][0-9]*)+$ ]] || fail "--topology must look like 4x4"

chips=$((${fields[TOPOLOGY]//x/*}))
((chips % fields[CHIPS_PER_HOST] == 0)) ||
  fail "--topology ${fields[TOPOLOGY]} has $chips chips, no multiple of ${fields[CHIPS_PER_HOST]}"
fields[HOSTS]=$((chips / fields[CHIPS_PER_HOST]))

yaml=$(cat "$(dirname "$0")/gke_jobset.yaml")
for field in "${!fields[@]}"; do
  yaml=${yaml//"\$($field)"/"${fields[$field]}"}
done
yaml=${yaml//"\$(FLAGS)"/"$(yaml_list "$@")"} # last: a flag may look like a field

if $dry_run; then
  printf '%s\n' "$yaml"
else
  kubectl apply -f - <<<"$yaml"
fi
