#!/bin/sh
# check_layers.sh SOURCE_ROOT [BUILD_DIR] - who may include whom.
#
# The rooms of src/ stand on floors. A file includes its own room or a lower
# floor, never another room of its own floor, and writes the path from the source
# root ("core/mask.h"). The public headers count as rooms as well: common.h and
# version.h lie on floor 0, attn.h, which includes them all, on the highest; the others
# belong to the room that implements them.
# What stands in <> is the system's.
#
# Prints one line per offence; exit status 1 if there are any.
set -eu
cd "$1"
status=0

# floor_of ROOM: the number of its floor, or nothing if there is no such room
floor_of() {
    case $1 in
    base) echo 0 ;;
    kernel | exec) echo 1 ;;
    core) echo 2 ;;
    engine) echo 3 ;;
    desc | cache) echo 4 ;;
    plan) echo 5 ;;
    layer) echo 6 ;;
    api) echo 7 ;;
    esac
}

# room_of PATH: the room that an include path leads to
room_of() {
    case $1 in
    attn/common.h | attn/profile.h | attn/version.h) echo base ;;
    attn/desc.h | attn/sdpa.h | attn/backward.h) echo desc ;;
    attn/cache.h) echo cache ;;
    attn/layer.h | attn/merge.h | attn/packed.h | attn/rollout.h | attn/rotary.h) echo layer ;;
    attn/tuning.h) echo api ;;
    attn.h) echo api ;;
    attn/*) ;;
    */*) echo "${1%%/*}" ;;
    esac
}

offence() {
    echo "$1:$2: $3"
    status=1
}

# check FILE LINE PATH: one include
check() {
    own_room=${1#src/}
    own_room=${own_room%%/*}
    own_floor=$(floor_of "$own_room")
    room=$(room_of "$3")
    floor=$(floor_of "${room:-none}")
    if [ -z "$own_floor" ]; then
        offence "$1" "$2" "$own_room is no room: rooms and floors are listed in $0"
    elif [ -z "$floor" ]; then
        offence "$1" "$2" "\"$3\" does not lead from the source root to a room"
    elif [ ! -f "src/$3" ] && [ ! -f "include/$3" ]; then
        offence "$1" "$2" "\"$3\" does not exist"
    elif [ "$room" != "$own_room" ] && [ "$floor" -ge "$own_floor" ]; then
        offence "$1" "$2" "$own_room (floor $own_floor) includes \"$3\" of $room (floor $floor)"
    fi
}

# Each include as "file:line:what is included", white space taken out.
includes=$(grep -rnE '^[[:space:]]*#[[:space:]]*include' src --include='*.[ch]' |
    sed 's/[[:space:]]//g; s/#include//')
[ -n "$includes" ] || {
    echo "no include found under src/: is $1 the source root?"
    exit 1
}
seen=0
while IFS=: read -r file line what; do
    seen=$((seen + 1))
    case $what in
    \<attn*) offence "$file" "$line" "public headers are included as \"attn/...\"" ;;
    \<*) ;;
    \"*\"*)
        path=${what#\"}
        check "$file" "$line" "${path%%\"*}"
        ;;
    *) offence "$file" "$line" "includes neither \"...\" nor <...>: $what" ;;
    esac
done <<LIST
$includes
LIST

# Public headers include one another by their bare names, and never src/.
public=$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' include/attn/*.h |
    sed 's/[[:space:]]//g; s/#include//; s/"//g')
while IFS=: read -r file line path; do
    seen=$((seen + 1))
    [ -f "include/attn/$path" ] ||
        offence "$file" "$line" "\"$path\" is no public header beside this one"
done <<LIST
$public
LIST
[ "$status" -ne 0 ] || echo "$seen includes keep to the floors"
exit "$status"
