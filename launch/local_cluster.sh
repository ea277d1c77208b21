#!/usr/bin/env bash
# Several processes of n2uq_jax.main on this machine, joined by a real coordinator.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: local_cluster.sh N [options] -- FLAGS

Starts N processes of `python -m n2uq_jax.main FLAGS` on this machine, on fake CPU devices, with
process 0 as coordinator. They go down together: when one fails, the others are ended and its
exit code is passed on. SIGTERM and Ctrl-C tell all of them to save and stop; a second one kills.

  --devices-per-process K  CPU devices of each process (default: 8 / N)
  --port P                 the coordinator's port (default: a free one)
  --grace S                seconds until survivors of a failure are killed (default: 5)
  --dry-run                print the commands only
  N2UQ_PYTHON              environment variable: the interpreter (default: python)

example: local_cluster.sh 2 -- --config configs/digits_w2a2.py --workdir runs/two
EOF
}

fail() {
  echo "local_cluster.sh: $1" >&2
  exit 2
}

positive() {
  [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 must be a positive integer, got '$2'"
}

free_port() {
  local port
  while true; do
    port=$((20000 + RANDOM % 12000)) # below the ports that Linux hands out by itself
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

processes='' devices='' port='' grace=5 dry_run=false
while (($#)); do
  case $1 in
    --devices-per-process) devices=${2-} && shift ;;
    --port) port=${2-} && shift ;;
    --grace) grace=${2-} && shift ;;
    --dry-run) dry_run=true ;;
    -h | --help) usage && exit 0 ;;
    --) break ;;
    -*) fail "unknown option $1; flags of n2uq_jax.main come after --" ;;
    *)
      [[ -z $processes ]] || fail "unexpected argument '$1'"
      processes=$1
      ;;
  esac
  shift || fail 'an option lacks its value'
done
[[ ${1-} == -- ]] || fail 'the flags of n2uq_jax.main are missing: local_cluster.sh N -- FLAGS'
shift
positive N "$processes"
if [[ -z $devices ]]; then
  ((8 % processes == 0)) || fail "N=$processes does not divide 8; give --devices-per-process"
  devices=$((8 / processes))
fi
positive --devices-per-process "$devices"
positive --grace "$grace"
port=${port:-$(free_port)}
positive --port "$port"

command=(
  "${N2UQ_PYTHON:-python}" -m n2uq_jax.main --distributed
  "--coordinator_address=localhost:$port" "--num_processes=$processes" "--cpu_devices=$devices"
)

if $dry_run; then
  for ((i = 0; i < processes; i++)); do
    printf '%q ' "${command[@]}" "--process_id=$i" "$@" | sed 's/ $/\n/'
  done
  exit 0
fi

running=() # pid by process number, of those that have not ended
signals=0

signal_all() {
  local pid
  for pid in "${running[@]}"; do
    # A killed process cannot end its data workers itself.
    [[ $1 != KILL ]] || pkill -KILL -P "$pid" || true
    kill "-$1" "$pid" 2>/dev/null || true
  done
}

# shellcheck disable=SC2317  # the trap below calls it
on_signal() {
  signals=$((signals + 1))
  if ((signals == 1)); then
    # Ctrl-C becomes SIGTERM: a shell starts background processes deaf to SIGINT.
    echo 'local_cluster.sh: telling all processes to save and stop' >&2
    signal_all TERM
  else
    signal_all KILL
  fi
}
trap on_signal INT TERM
trap 'signal_all KILL' EXIT

for ((i = 0; i < processes; i++)); do
  "${command[@]}" "--process_id=$i" "$@" &
  running[i]=$!
done
if ((signals)); then signal_all TERM; fi # it came before the last one was started

exit_code=0
deadline=''
while ((${#running[@]})); do
  for i in "${!running[@]}"; do
    pid=${running[i]}
    if kill -0 "$pid" 2>/dev/null; then continue; fi
    unset "running[$i]"
    code=0
    wait "$pid" || code=$?
    if ((code != 0 && exit_code == 0)); then
      exit_code=$code
      echo "local_cluster.sh: process $i ended with exit code $code; ending the others" >&2
      signal_all TERM
      deadline=$((SECONDS + grace))
    fi
  done
  if [[ -n $deadline ]] && ((SECONDS >= deadline)); then signal_all KILL; fi
  sleep 0.2 || true  # Ctrl-C in a terminal ends it, too
done
exit "$exit_code"
