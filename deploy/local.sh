# What deploy/local-up and deploy/local-down share. For bash; sourced by both.

local_dir=${FLOWMILL_LOCAL_DIR:-$PWD/target/local}
servers=$local_dir/servers
target=${CARGO_TARGET_DIR:-$PWD/target}
port=${FLOWMILL_LOCAL_PORT:-8080}
workers=${FLOWMILL_LOCAL_WORKERS:-2}

# Whether a program that was started here still runs. $1: its name here, such as worker-1.
runs() {
  local pid
  pid=$(cat "$local_dir/$1.pid" 2>/dev/null) || return 1
  # the number may be another program's by now
  [ "$(readlink "/proc/$pid/exe" 2>/dev/null | sed 's/ (deleted)$//')" = "$(cat "$local_dir/$1.exe" 2>/dev/null)" ]
}

# What was started here, whether it still runs or not.
known() {
  local file
  for file in "$local_dir"/*.pid; do
    if [ -e "$file" ]; then basename "$file" .pid; fi
  done
}
