# The servers that Flowmill needs, on this machine: found, or installed and started. For bash; it is
# sourced by ./dev and by deploy/local-up, which set:
#
#   program   what messages begin with
#   servers   a folder for the data of servers that are our own

die() {
  printf '%s: %s\n' "$program" "$*" >&2
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Whether something listens on a port of this machine.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Waits until something listens on a port. $1: the port; $2: how many seconds.
await_port() {
  local tries
  for tries in $(seq "$2"); do
    if answers "$1"; then return; fi
    sleep 1
  done
  return 1
}

# Installs Debian packages if that needs no question, else says what to install.
# $1: what they bring; then their names.
debian() {
  local what=$1
  shift
  if has apt-get && [ "$(id -u)" = 0 ]; then
    echo "installing $what: $*" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  else
    die "$what is missing. Install it (Debian, Ubuntu: sudo apt-get install $*), then run this again."
  fi
}

# Prints the address of a PostgreSQL server: the usual one if it lets us in, else one of our own,
# which is made and started if need be.
# $1: the name of our own; $2: its port; then settings of it.
postgres() {
  local usual="postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
  if lets_in "$usual"; then
    echo "$usual"
    return
  fi
  if ! lets_in "$(own_address "$2")"; then
    postgres_programs >/dev/null || debian "PostgreSQL" postgresql
    start_postgres "$(postgres_programs)" "$@"
  fi
  own_address "$2"
}

# Whether a PostgreSQL server at an address lets us in.
lets_in() { psql -Xqw "$1" -c 'SELECT 1' >/dev/null 2>&1; }

# Prints the address of a PostgreSQL server of our own. $1: its port.
own_address() { echo "postgres://postgres@127.0.0.1:$1/postgres?sslmode=disable"; }

# Makes and starts a PostgreSQL server of our own.
# $1: the folder of its programs; $2: its name; $3: its port; then settings of it.
start_postgres() {
  local bin=$1 name=$2 port=$3 data setting as=() options
  shift 3
  data=$servers/$name
  if [ "$(id -u)" = 0 ]; then
    # it refuses to run as root
    as=(setpriv --reuid=postgres --regid=postgres --init-groups env --chdir=/)
    data=$(postgres_home)/$name
  else
    mkdir -p "$servers"
  fi
  [ -d "$data" ] || ${as[@]+"${as[@]}"} "$bin/initdb" -D "$data" -U postgres -A trust >/dev/null
  options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories="
  for setting in "$@"; do options+=" -c $setting"; done
  ${as[@]+"${as[@]}"} "$bin/pg_ctl" -D "$data" -l "$data/log" -w start -o "$options" >/dev/null 2>&1 \
    || die "PostgreSQL does not start: see $data/log"
  started "postgres $data"
}

# Prints the home of the user that PostgreSQL runs as where we are root.
postgres_home() { getent passwd postgres | cut -d: -f6; }

# Prints the folder that holds PostgreSQL's programs; Debian keeps them out of the path.
postgres_programs() {
  local folder
  for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) $(tr : ' ' <<<"$PATH"); do
    if [ -x "$folder/initdb" ]; then
      echo "$folder"
      return
    fi
  done
  return 1
}

# Makes sure that RabbitMQ runs on its usual port.
rabbitmq() {
  if answers 5672; then return; fi
  [ -x /usr/sbin/rabbitmq-server ] || has rabbitmq-server || debian "RabbitMQ" rabbitmq-server
  if ! answers 5672; then
    [ "$(id -u)" = 0 ] \
      || die "RabbitMQ does not run. Start it (sudo service rabbitmq-server start), then run this again."
    service rabbitmq-server start >/dev/null 2>&1 || true
    started "service rabbitmq-server"
  fi
  await_port 5672 60 || die "RabbitMQ does not answer on port 5672. Its log lies in /var/log/rabbitmq."
}

# Makes sure that Redis runs on its usual port. What it holds may vanish, so it writes nothing.
redis() {
  if answers 6379; then return; fi
  has redis-server || debian "Redis" redis-server
  # where packages start what they bring, it runs by now
  if answers 6379; then return; fi
  mkdir -p "$servers/redis"
  redis-server --port 6379 --bind 127.0.0.1 --daemonize yes --save '' --appendonly no \
    --dir "$servers/redis" --logfile "$servers/redis/log" --pidfile "$servers/redis/pid" >/dev/null \
    || die "Redis does not start: see $servers/redis/log"
  started "redis $servers/redis/pid"
  await_port 6379 10 || die "Redis does not answer on port 6379: see $servers/redis/log"
}

# Notes what was started here, for whoever stops it again.
started() {
  mkdir -p "$servers"
  if ! grep -qsxF -- "$1" "$servers/started"; then echo "$1" >>"$servers/started"; fi
}

# Stops what was started here, the last one first.
stop_servers() {
  local kind what pid
  [ -f "$servers/started" ] || return 0
  while read -r kind what; do
    case $kind in
      postgres) stop_postgres "$what" ;;
      service) service "$what" stop >/dev/null 2>&1 || true ;;
      redis)
        pid=$(cat "$what" 2>/dev/null || true)
        if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi
        ;;
    esac
    echo "stopped $kind $what"
  done < <(tac "$servers/started")
  rm -f "$servers/started"
}

stop_postgres() {
  local as=()
  if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid=postgres --regid=postgres --init-groups env --chdir=/); fi
  ${as[@]+"${as[@]}"} "$(postgres_programs)/pg_ctl" -D "$1" -m fast -w stop >/dev/null 2>&1 || true
}
