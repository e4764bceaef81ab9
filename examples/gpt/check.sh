#!/bin/sh
# check.sh GPT CHECK_PICTURE WHAT - tests the program gpt on a small text.
#
# WHAT is one of the functions below: learns, resumes, threads, continues, caches,
# interrupt, refuses or pictures.
set -eu
gpt=$1
check_picture=$2
scratch=$(mktemp -d)
process=
trap '[ -z "$process" ] || kill -KILL "$process" 2>/dev/null || :; rm -rf "$scratch"' EXIT
cd "$scratch"

# Sentences whose words depend on more than the word before: what comes after "the cat"
# and "the dog" differs.
awk 'BEGIN {
    split("cat sees a red bird;dog eats the old bone;sun warms one small house", line, ";")
    number = 1
    for (i = 0; i < 600; i++) {
        number = (number * 1103515245 + 12345) % 2147483648
        printf "the %s%s\n", line[int(number / 65536) % 3 + 1], int(number / 256) % 2 ? "." : "!"
    }
}' >text

die() {
    echo "$*" >&2
    exit 1
}

# small STEPS OPTION...: a training of some tenths of a second
settings='--text=text --layers=2 --heads=2 --dim=32 --context=32 --batch=4 --vocabulary=290'
small() {
    steps=$1
    shift
    # shellcheck disable=SC2086 # several words
    "$gpt" $settings --length=40 --steps="$steps" "$@"
}

# The loss falls, and what was held out is predicted better than by bigrams.
learns() {
    small 80 --out=out >log
    awk 'NR == 2 { first = $2 } END { exit !($2 < first / 2) }' out/losses.tsv ||
        die "the loss does not fall: $(tail -n 1 out/losses.tsv)"
    [ "$(wc -l <out/losses.tsv)" -eq 81 ] || die "losses.tsv has not a line for each step"
    characters=$(awk '/bigrams of characters/ { print $4 }' log)
    model=$(awk '/this model/ { print $3 }' log)
    awk "BEGIN { exit !($model + 0 > 0 && $model < 0.8 * $characters) }" ||
        die "$model bits are not clearly less than the $characters of bigrams"
    grep -q 'attention took .* %.*forwards' log || die "no share of attention"
    [ -s out/text.txt ] || die "nothing was written"
}

# Stopped twice and gone on with, a training ends with the same bits as in one go.
resumes() {
    small 30 --out=whole >log
    small 30 --out=parts --checkpoint=parts.model --stop=7 >log
    grep -q 'To go on: gpt --checkpoint=parts.model' log || die "it does not say how to go on"
    small 30 --out=parts --checkpoint=parts.model --stop=19 >log
    "$gpt" --text=text --out=parts --checkpoint=parts.model --length=40 >log
    cmp whole/losses.tsv parts/losses.tsv
    cmp whole/checkpoint parts.model
    cmp whole/text.txt parts/text.txt
    # and when it is done, the text is not needed any more
    "$gpt" --checkpoint=parts.model --out=parts --length=40 >log
    cmp whole/text.txt parts/text.txt
    cmp whole/checkpoint parts.model
}

# The number of threads changes nothing; the seed does.
threads() {
    for count in 1 2 5; do
        small 20 --out="out$count" --threads="$count" >log
    done
    for count in 2 5; do
        cmp out1/checkpoint "out$count/checkpoint"
        cmp out1/losses.tsv "out$count/losses.tsv"
    done
    small 20 --out=other --seed=2 >log
    ! cmp -s out1/losses.tsv other/losses.tsv || die "the seed changes nothing"
}

# Written token by token, a text goes on as it does after all of its beginning at once.
# Tokens are characters here, so that a text is cut into tokens in one way only.
continues() {
    small 200 --vocabulary=256 --checkpoint=my.model --out=out --temperature=0.001 \
        --prompt='the cat' --length=40 >log
    cp out/text.txt whole.txt
    [ "$(wc -c <whole.txt)" -eq 47 ] || die "not 40 characters behind the prompt"
    for given in 8 20 46; do
        "$gpt" --checkpoint=my.model --out=out --temperature=0.001 \
            --prompt="$(head -c "$given" whole.txt)" --length=$((47 - given)) >log
        cmp whole.txt out/text.txt
    done
}

# Without chance the text is the same with a cache and without one, with a prompt in one
# piece and in several. How far that goes for a cache of smaller numbers is only said,
# since a nearly even choice may go either way.
caches() {
    small 200 --vocabulary=256 --checkpoint=my.model --out=out --cache=none \
        --temperature=0 --prompt="$(head -c 45 text)" --length=80 >log
    cp out/text.txt whole.txt
    [ "$(wc -c <whole.txt)" -eq 125 ] || die "not 80 characters behind the prompt"
    for cache in f32 f16 bf16 i8; do
        chunks='0 7'
        [ "$cache" != f32 ] || chunks='0 1 2 7 13 44'
        for chunk in $chunks; do
            "$gpt" --checkpoint=my.model --out=out --temperature=0 --length=80 \
                --prompt="$(head -c 45 text)" --cache="$cache" --chunk="$chunk" >log
            [ "$cache" != f32 ] || cmp whole.txt out/text.txt
            [ "$chunk" != 0 ] || cp out/text.txt "$cache.txt"
            cmp "$cache.txt" out/text.txt
        done
        alike=$(cmp "$cache.txt" whole.txt | sed 's/.*[a-z] \([0-9]*\),.*/\1/')
        echo "$cache: the first $((${alike:-126} - 46)) of 80 characters are those of f32"
        grep -q "[1-9][0-9]* tokens/s with earlier keys and values in a cache: $cache" log ||
            die "no rate with a cache"
        grep -q '[1-9][0-9]* tokens/s with the whole text read anew' log || die "no rate without"
        [ "$cache" != f32 ] || grep -q 'Both ways write the same text' log ||
            die "the two ways are said to differ"
    done
}

# Signals save the checkpoint.
interrupt() {
    for signal in INT TERM; do
        # shellcheck disable=SC2086 # several words
        "$gpt" $settings --steps=1000000 --out=out --checkpoint="$signal.model" >log &
        process=$!
        for _ in $(seq 300); do
            ! grep -q '^ *1 of' log || break
            sleep 0.1
        done
        kill -s "$signal" "$process"
        status=0
        wait "$process" || status=$?
        process=
        [ "$status" -eq 130 ] || die "status $status after SIG$signal"
        grep -q '^Interrupted after step' log || die "it does not say that it was interrupted"
        [ ! -e "$signal.model.new" ] || die "the temporary file is left"
        done=$(awk 'END { print $1 }' out/losses.tsv)
        "$gpt" --text=text --out=out --checkpoint="$signal.model" --stop=$((done + 1)) >log
        grep -q "Stopped after step $((done + 1))" log || die "it does not go on"
    done
}

# refused MESSAGE OPTION...: gpt fails with this message, and leaves the checkpoint alone
refused() {
    message=$1
    shift
    cp bad.model before
    status=0
    "$gpt" --text=text --out=out --checkpoint=bad.model "$@" >log 2>&1 || status=$?
    [ "$status" -eq 1 ] || [ "$status" -eq 2 ] || die "status $status instead of: $message"
    grep -q "$message" log || die "instead of '$message': $(cat log)"
    cmp bad.model before
}

# spoil OFFSET: good.model with another byte there
spoil() {
    cp good.model bad.model
    byte=$(od -An -tu1 -j "$1" -N 1 good.model | tr -d ' ')
    # shellcheck disable=SC2059 # an octal escape
    printf "\\$(printf %o $(((byte + 1) % 256)))" |
        dd of=bad.model bs=1 seek="$1" conv=notrunc 2>/dev/null
}

# What is no whole checkpoint, or one of something else, is an error that says so.
refuses() {
    small 6 --out=out --checkpoint=good.model --stop=3 >log
    size=$(wc -c <good.model)
    spoil 0
    refused 'it is no checkpoint of this program'
    spoil 8
    refused 'version'
    spoil 60
    refused 'its header does not match its checksum'
    for offset in 104 $((size / 2)) $((size - 1)); do
        spoil "$offset"
        refused 'its numbers do not match their checksum'
    done
    for part in 0 50 104 $((size - 1)); do
        head -c "$part" good.model >bad.model
        refused 'no checkpoint\|header\|cut off'
    done
    { cat good.model && echo; } >bad.model
    refused 'something else too'
    cp good.model bad.model
    refused 'begun with --layers=2, which cannot become 3' --layers=3
    refused 'less' --steps=2
    echo 'the end' >>text
    refused 'another text'
    rm bad.model
    mkdir bad.model
    ! "$gpt" --text=text --out=out --checkpoint=bad.model >log 2>&1 || die "a folder is no file"
    ! small 2 --out=text >log 2>&1 || die "a file is no folder"
    ! small 2 --dim=33 >log 2>&1 || die "33 is no multiple of 2"
}

# The pictures can be decoded and show something.
pictures() {
    small 10 --out=out >log
    for picture in attention attention-layer1-head1 attention-layer2-head2; do
        [ "$(od -An -tx1 -N 8 "out/$picture.png" | tr -d ' \n')" = 89504e470d0a1a0a ] ||
            die "$picture.png is no PNG"
        "$check_picture" "out/$picture.png"
    done
    COLUMNS=60 small 10 --out=out --color=always --checkpoint=out/checkpoint >log
    grep -q 'What each head attends' log || die "nothing is drawn on the terminal"
}

"$3"
