#!/bin/sh
# check.sh LLAMA MAKE_MODEL WHAT - tests the program llama on small random models.
#
# WHAT is one of the functions below: same, encodes, stores, chances or refuses.
set -eu
llama=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$2" "$scratch"
cd "$scratch"

die() {
    echo "$*" >&2
    exit 1
}

prompt=1,17,200,4,99,31,31,260,7,145,88,12,250,63,9,110,5
known=17 # tokens of it

# ids MODEL OPTION...: a prompt, and the 120 tokens that are likeliest behind it
ids() {
    model=$1
    shift
    "$llama" "$model" --ids="$prompt" --tokens --go-on -t 0 -n 120 "$@" 2>log
}

# The text is the same whether a prompt comes in one piece, in pieces of any size or
# token by token, for any number of threads, and whenever it is asked for.
same() {
    for model in shared.bin own.bin; do
        ids "$model" >"$model.ids"
        [ "$(wc -w <"$model.ids")" -eq $((known + 120)) ] || die "not 120 tokens"
        kinds=$(tr ' ' '\n' <"$model.ids" | tail -n 120 | sort -u | wc -l)
        [ "$kinds" -ge 8 ] || die "only $kinds kinds of tokens: that shows nothing"
        for more in --seed=2 --chunk=1 --chunk=2 --chunk=3 --chunk=7 --chunk=16 --threads=1 \
            --threads=3; do
            ids "$model" "$more" >other
            cmp "$model.ids" other || die "$model: another text with $more"
        done
        # and behind more of the same text
        more=$(cut -d ' ' -f 1-70 "$model.ids" | tr ' ' ,)
        "$llama" "$model" --ids="$more" --tokens --go-on -t 0 -n 67 >other 2>log
        cmp "$model.ids" other || die "$model: another text behind its own beginning"
    done
    ! cmp -s shared.bin.ids own.bin.ids || die "the classifier changes nothing"
    ids own.bin -n 100000 >other
    [ "$(wc -w <other)" -eq 160 ] || die "the context is not the end"
    grep -q '^prompt: 17 tokens, .* tokens/s' log || die "no rate of the prompt"
    grep -q '^written: 143 tokens, .* tokens/s' log || die "no rate of the text"
    ids own.bin -n 1 >other
    [ "$(cat other)" = "$(cut -d ' ' -f 1-18 own.bin.ids)" ] || die "one token is another"
}

# encoded TEXT IDS: the text is these tokens, and they are the text
encoded() {
    found=$("$llama" own.bin --prompt="$1" -n 0 --tokens)
    [ "$found" = "$2" ] || die "'$1' is $found instead of $2"
    text=$("$llama" own.bin --ids="$(echo "$2" | tr ' ' ,)" -n 0)
    [ "$text" = "$1" ] || die "$2 is '$text' instead of '$1'"
}

# By hand. Tokens are 259 " ", 260 t, 261 h, 262 e, 263 é, 264 c, 265 a, 266 he, 267 th,
# 268 " t", 269 the, 270 " the", 271 ca, 272 at, and 3 and more a byte each.
encodes() {
    encoded '' '1'
    encoded 'the' '1 270'           # th before he; then the, then " the"
    encoded 'cat' '1 259 264 272'   # at before ca
    encoded 'tat' '1 268 272'       # " t" before at; nothing joins these
    encoded 'the cat the' '1 270 259 264 272 270'
    encoded 'thhe' '1 259 267 266'
    encoded 'hé' '1 259 261 263'
    encoded 'hü' '1 259 261 198 191' # bytes c3 and bc
    encoded ' a' '1 259 259 265'
    # a new line, a tab and what is no UTF-8 come back as they are
    printf 'a\nb\tz\377\303t' >odd
    "$llama" own.bin --prompt="$(cat odd)" -n 0 >text
    { cat odd && echo; } | cmp - text
    # what could play tricks on a terminal does not
    "$llama" own.bin --prompt="$(printf '\033[31ma\007')" -n 0 >text
    [ "$(cat text)" = '[31ma' ] || die "control characters are printed"
    # no token that ends a text is written, and nothing behind it
    for seed in 1 2 3 4 5; do
        "$llama" own.bin --tokens -p 'the' -t 2 --top-p=1 --seed="$seed" 2>log >text
        ! tail -c +3 text | grep -qw '[12]' || die "it goes on behind the end: $(cat text)"
    done
}

# Smaller numbers in the cache take less memory. How far the text stays the same is only
# said, since a nearly even choice may go either way. But all see the same numbers, a
# prompt in one piece and in several.
stores() {
    ids own.bin | tr ' ' '\n' >whole
    for type in f32 f16 bf16 i8; do
        ids own.bin --cache="$type" >part
        ids own.bin --cache="$type" --chunk=4 >other
        cmp part other || die "$type: another text with a prompt in pieces"
        alike=$(tr ' ' '\n' <part | paste - whole |
            awk '$1 != $2 { exit } { n++ } END { print n - '$known' }')
        echo "$type: the first $alike of 120 tokens are those of f32; $(grep '^cache' log)"
        [ "$alike" -ge 1 ] || die "$type: not even the first token is the same"
        sed -n "s/^cache: $type, \(.*\) MiB/\1/p" log >>sizes
    done
    sort -rn sizes | cmp - sizes || die "smaller numbers take more memory"
    [ "$(sort -u sizes | wc -l)" -eq 3 ] || die "not three sizes of cache"
}

# Chance comes from the seed alone.
chances() {
    for seed in 1 2; do
        "$llama" own.bin -p 'the' --seed="$seed" --go-on >"text$seed" 2>log
        "$llama" own.bin -p 'the' --seed="$seed" --go-on --chunk=1 >again 2>log
        cmp "text$seed" again
    done
    ! cmp -s text1 text2 || die "the seed changes nothing"
    ids own.bin >greedy
    ids own.bin -t 1 --top-p=0 >other
    cmp greedy other || die "the fewest tokens are not the likeliest one"
    ids own.bin -t 0.0001 --top-p=1 >other
    cmp greedy other || die "without heat it is not the likeliest one"
    ids own.bin -t 1 --top-p=1 >other
    ! cmp -s greedy other || die "chance changes nothing"
    # of 40 choices there are more kinds, the larger the head they are made from
    for share in 0 0.3 0.6 1; do
        for seed in $(seq 40); do
            "$llama" own.bin --ids="$prompt" --tokens -t 0.3 -n 1 --top-p="$share" \
                --seed="$seed" 2>log
        done | sort -u | wc -l >>kinds
    done
    sort -nu kinds | cmp - kinds || die "kinds of tokens: $(tr '\n' ' ' <kinds)"
    [ "$(head -n 1 kinds)" -eq 1 ] || die "the smallest head is more than one token"
}

# refused MESSAGE OPTION...: llama fails with this message
refused() {
    message=$1
    shift
    status=0
    "$llama" "$@" >out 2>log || status=$?
    [ "$status" -eq 1 ] || [ "$status" -eq 2 ] || die "status $status instead of: $message"
    grep -q -- "$message" log || die "instead of '$message': $(cat log)"
}

# header INDEX BYTES: own.bin with another number there, its bytes from low to high, as bad.bin
header() {
    cp own.bin bad.bin
    # shellcheck disable=SC2059 # octal escapes
    printf "$2" | dd of=bad.bin bs=1 seek=$((4 * $1)) conv=notrunc 2>/dev/null
}

# What is no whole model and vocabulary is an error that says so.
refuses() {
    size=$(wc -c <own.bin)
    for part in 28 29 5000 $((size / 2)) $((size - 4)) $((size - 1)); do
        head -c "$part" own.bin >bad.bin
        refused "the file has $part bytes.* of $size: it is cut off" bad.bin
    done
    head -c 27 own.bin >bad.bin
    refused "27 bytes are less than the header's 28" bad.bin
    : >bad.bin
    refused 'empty' bad.bin
    { cat own.bin && echo; } >bad.bin
    refused 'something else is there too' bad.bin
    header 0 '\001'
    refused 'no even number for each of 6 heads' bad.bin
    header 1 '\000\000\000\000'
    refused 'hidden_dim is 0' bad.bin
    header 2 '\377\377\377\377'
    refused 'n_layers is -1' bad.bin
    header 3 '\000\000\000\100'
    refused 'n_heads is 1073741824' bad.bin
    header 4 '\004'
    refused 'cannot share 4 heads' bad.bin
    header 5 '\000\000\000\200'
    refused 'vocab_size is -2147483648' bad.bin
    header 0 '24ka'
    refused 'version 1 or later' bad.bin
    refused 'No such file' missing.bin
    refused 'this is no file' .
    refused 'which model' -t 0
    refused 'one model, please' own.bin text

    refused 'No such file' own.bin -z missing
    size=$(wc -c <tokenizer.bin)
    for part in 1 4 20 $((size / 2)) $((size - 1)); do
        head -c "$part" tokenizer.bin >bad
        refused 'ends within token\|cut off' own.bin -z bad
    done
    { cat tokenizer.bin && echo; } >bad
    refused 'tokenizer of another one' own.bin -z bad
    refused 'cut off' own.bin -z own.bin

    refused 'numbers from 0 to 272' own.bin --ids=1,273
    refused 'numbers from 0 to 272' own.bin --ids=1,,2
    refused 'numbers from 0 to 272' own.bin --ids=
    refused 'either --prompt or --ids' own.bin --ids=1 -p a
    refused "the model's context is 160" own.bin --ids="$(seq -s , 0 160)"
    refused 'f32, f16, bf16 or i8' own.bin --cache=f8
}

"$3"
