#!/usr/bin/env bash
# n2uq_jax on a Cloud TPU slice: create it, install this checkout, run on all workers, delete it.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: tpu_pod.sh [--dry-run] create  NAME --zone ZONE --type TYPE [gcloud's other flags]
       tpu_pod.sh [--dry-run] install NAME --zone ZONE
       tpu_pod.sh [--dry-run] run     NAME --zone ZONE -- FLAGS OF n2uq_jax.main
       tpu_pod.sh [--dry-run] delete  NAME --zone ZONE

  --zone ZONE    such as us-central2-b
  --type TYPE    accelerator type, such as v4-32 or v5litepod-16
  --version V    of the TPU software (default: fits the type)
  --project P    (default: gcloud's)
  --dry-run      print the commands only

`install` copies the last commit of this checkout. `run` goes on in the foreground; give a workdir
on a disk that all workers see. The same `run` again resumes.

example: tpu_pod.sh create pod --zone us-central2-b --type v4-32 --spot
EOF
}

fail() {
  echo "tpu_pod.sh: $1" >&2
  exit 2
}

# Prints or runs a command.
run() {
  if $dry_run; then
    printf '%q ' "$@" | sed 's/ $/\n/'
  else
    "$@"
  fi
}

# The TPU software that fits an accelerator type.
version_of() {
  case $1 in
    v2-* | v3-* | v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) fail "--version is needed for the type $1" ;;
  esac
}

dry_run=false
if [[ ${1-} == --dry-run ]]; then
  dry_run=true
  shift
fi
case ${1-} in
  create | install | run | delete) action=$1 ;;
  -h | --help) usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac
[[ -n ${2-} && $2 != -* ]] || fail "NAME is missing: tpu_pod.sh $action NAME --zone ZONE"
name=$2
shift 2

where=() type='' version='' others=()
while (($#)); do
  case $1 in
    --zone | --project | --type | --version) [[ -n ${2-} ]] || fail "$1 lacks its value" ;;&
    --zone | --project)
      where+=("$1=$2")
      shift
      ;;
    --type)
      type=$2
      shift
      ;;
    --version)
      version=$2
      shift
      ;;
    --dry-run) dry_run=true ;;
    --) break ;;
    *)
      [[ $action == create ]] || fail "unknown option $1"
      others+=("$1")
      ;;
  esac
  shift
done
[[ " ${where[*]-}" == *" --zone="* ]] || fail '--zone is missing'

tpu=(gcloud compute tpus tpu-vm)
on_all=("${tpu[@]}" ssh "$name" "${where[@]}" --worker=all)

case $action in
  create)
    [[ -n $type ]] || fail '--type is missing'
    version=${version:-$(version_of "$type")}
    run "${tpu[@]}" create "$name" "${where[@]}" "--accelerator-type=$type" \
      "--version=$version" "${others[@]}"
    ;;
  install)
    folder=$(dirname "$0")
    root=$(git -C "$folder" rev-parse --show-toplevel 2>/dev/null) ||
      fail "install copies a git checkout; git finds none here: git -C $folder status"
    archive=n2uq_jax.tar.gz
    if ! $dry_run; then
      scratch=$(mktemp -d)
      trap 'rm -rf "$scratch"' EXIT
      archive=$scratch/$archive
    fi
    # The image's Python may be older than 3.11; uv brings one.
    steps=(
      'mkdir -p n2uq_jax'
      'tar -xzf n2uq_jax.tar.gz -C n2uq_jax'
      'curl -LsSf https://astral.sh/uv/install.sh | sh'
      '.local/bin/uv venv --clear --python 3.12 venv'
      '.local/bin/uv pip install --python venv "jax[tpu]" "./n2uq_jax[train]"'
    )
    run git -C "$root" archive "--output=$archive" HEAD
    run "${tpu[@]}" scp "$archive" "$name:n2uq_jax.tar.gz" "${where[@]}" --worker=all
    run "${on_all[@]}" "--command=${steps[0]}$(printf ' && %s' "${steps[@]:1}")"
    ;;
  run)
    [[ ${1-} == -- && $# -gt 1 ]] || fail 'the flags of n2uq_jax.main are missing: run NAME -- FLAGS'
    shift
    run "${on_all[@]}" \
      "--command=cd n2uq_jax && ../venv/bin/python -m n2uq_jax.main --distributed$(printf ' %q' "$@")"
    ;;
  delete)
    run "${tpu[@]}" delete "$name" "${where[@]}"
    ;;
esac
