# A cluster of the load test's own. For bash; sourced by loadtest/measure and loadtest/million, which say
# what `program` and `name` are: the script and the database.

export FLOWMILL_LOCAL_DIR=${FLOWMILL_LOCAL_DIR:-$PWD/target/loadtest}
export FLOWMILL_LOCAL_WORKERS=${FLOWMILL_LOCAL_WORKERS:-1}
. deploy/local.sh
. deploy/servers.sh

# Prints a port of this machine on which nothing listens, nor on as many after it as there are workers.
free_port() {
  local base number taken
  for base in $(shuf -i 20000-30000 -n 100); do
    taken=
    for number in $(seq 0 "$workers"); do
      if answers $((base + number)); then taken=yes; fi
    done
    if [ -z "$taken" ]; then
      echo "$base"
      return
    fi
  done
  die "no port is free between 20000 and 30000"
}

# Prints the address of a server, with another database. $1: the address; $2: the database.
with_database() { sed -E "s|^(postgres(ql)?://[^/?]+)(/[^?]*)?|\1/$2|" <<<"$1"; }

# Runs a statement in the server's usual database. $1: the statement.
statement() { psql -Xqw "$server" -c "$1" >/dev/null; }

# Removes the queues that only this cluster used.
remove_queues() {
  local queue
  has rabbitmqctl || return 0
  while read -r queue; do
    # it must not read the rest of the list
    case $queue in
      "$FLOWMILL_RABBITMQ__PREFIX".*) rabbitmqctl -q delete_queue "$queue" >/dev/null </dev/null || true ;;
    esac
  done < <(rabbitmqctl -q list_queues name --no-table-headers 2>/dev/null || true)
}

# Takes the cluster down, with all that it left.
down() {
  local status=$?
  if [ -n "${FLOWMILL_LOADTEST_KEEP:-}" ]; then
    echo "the cluster runs on: FLOWMILL_LOCAL_DIR=$local_dir deploy/local-down --now"
    exit "$status"
  fi
  deploy/local-down --now >/dev/null || true
  statement "DROP DATABASE IF EXISTS $name WITH (FORCE)" || true
  remove_queues
  exit "$status"
}

# The flag that has a program of the cluster watched. $1: its name there.
watched() { printf -- '--watch\n%s=%s\n' "$1" "$(cat "$local_dir/$1.pid")"; }

# Brings the cluster up. It goes down when the script ends.
up() {
  has psql || debian "psql" postgresql-client
  mkdir -p "$local_dir"
  if [ -n "$(known)" ]; then
    port=$(cat "$local_dir/port")
  else
    port=$(free_port)
    echo "$port" >"$local_dir/port"
  fi
  server=${FLOWMILL_LOCAL_POSTGRES:-$(postgres flowmill-local 54330)}
  export FLOWMILL_LOCAL_PORT=$port
  export FLOWMILL_RABBITMQ__PREFIX=${FLOWMILL_RABBITMQ__PREFIX:-flowmill-loadtest}
  export FLOWMILL_REDIS__URL=${FLOWMILL_REDIS__URL-redis://127.0.0.1:6379/0}
  # a load may be told by webhook to this machine
  export FLOWMILL_WEBHOOKS__ALLOW_PRIVATE=${FLOWMILL_WEBHOOKS__ALLOW_PRIVATE-true}
  FLOWMILL_POSTGRES__URL=$(with_database "$server" "$name")
  export FLOWMILL_POSTGRES__URL
  if [ -z "$(known)" ]; then
    # what an earlier try left behind
    statement "DROP DATABASE IF EXISTS $name WITH (FORCE)"
    remove_queues
    statement "CREATE DATABASE $name ${FLOWMILL_LOADTEST_TEMPLATE:+TEMPLATE $FLOWMILL_LOADTEST_TEMPLATE}"
    # a copy is not brought to the disk while something is measured
    statement CHECKPOINT
  fi
  trap down EXIT
  deploy/local-up
}
