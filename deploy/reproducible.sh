#!/usr/bin/env bash
# Builds the release twice, in two folders, and fails unless both came to the same programs.
#
#   deploy/reproducible.sh                          # the programs of the image: takes as long as two releases
#   deploy/reproducible.sh -p flowmill-workflow     # other arguments for cargo build
#
# It builds what is committed. FLOWMILL_PROFILE names another profile than release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${FLOWMILL_PROFILE:-release}
if [ $# -gt 0 ]; then
  build=("$@")
else
  # as the image's
  read -ra build < <(sed -e ':a;/\\$/{N;s/\\\n//;ba}' deploy/Dockerfile \
    | sed -n 's/.*cargo build --release --locked *\(.*[a-z]\) *&&.*/\1/p')
  [ ${#build[@]} -gt 0 ] || { echo "deploy/Dockerfile: no line that builds is known" >&2; exit 1; }
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# the time of the commit stands wherever a time is asked for
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH CARGO_INCREMENTAL=0 LC_ALL=C TZ=UTC
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustc --version

# folders whose names are of other lengths, so that no path can hide
for source in "$work/one" "$work/another-place"; do
  mkdir "$source"
  git archive HEAD | tar -x -C "$source"
  echo "building ${build[*]} in $source"
  (
    cd "$source"
    export RUSTFLAGS="--remap-path-prefix=$source=/source --remap-path-prefix=$cargo_home=/cargo"
    export CFLAGS="-ffile-prefix-map=$source=/source -ffile-prefix-map=$cargo_home=/cargo"
    export CARGO_TARGET_DIR=$source/target
    cargo build --quiet --profile "$profile" --locked "${build[@]}"
    out=target/$profile
    [ "$profile" != dev ] || out=target/debug
    find "$out" -maxdepth 1 -type f -perm -u+x -exec strip {} +
    # programs by their names; libraries by theirs, where nothing else was made
    find "$out" -maxdepth 1 -type f \( -perm -u+x -o -name '*.rlib' \) -printf '%f\n' | sort \
      | (cd "$out" && xargs -r sha256sum) > "$work/${source##*/}.sums"
  )
done

cat "$work/one.sums"
[ -s "$work/one.sums" ] || { echo "nothing was built that could be compared" >&2; exit 1; }
if ! cmp -s "$work/one.sums" "$work/another-place.sums"; then
  echo "the second build came to other files:" >&2
  cat "$work/another-place.sums" >&2
  exit 1
fi
echo "both builds came to the same"
