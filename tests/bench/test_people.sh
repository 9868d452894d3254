#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: test_people.sh PAGELOCK-BENCH SOURCES: what the command does for people: a hint for a mistyped word, defaults in
# --help, tables and bars that fit, the same figures in every locale, plots that can be compared, and the manual page of
# the traces.
set -u
. "$(dirname -- "$0")/command.sh"
top=$(realpath "$2") || exit 1
traces=$top/bench/traces
code=$traces/code-linux-boot.trace.gz
fault=$traces/fault-git-log.trace.gz

# hint MESSAGE ARGUMENT...: the command refuses the arguments, with that line
hint() {
    message=$1
    shift
    "$bench" "$@" >"$dir/out" 2>"$dir/err"
    [ $? -eq 2 ] && [ "$(cat "$dir/err")" = "$message" ] && [ ! -s "$dir/out" ] || fail "$* said: $(cat "$dir/err")"
}

mistyped_words_get_a_hint() {
    hint 'pagelock-bench: unknown command: reply (did you mean replay?)' reply
    hint 'pagelock-bench: unknown command: --versoin (did you mean --version?)' --versoin
    hint 'pagelock-bench: unknown command: nosuch' nosuch
    hint 'pagelock-bench: Unknown option --polcy (did you mean --policy?)' replay --polcy none "$fault"
    hint 'pagelock-bench: Unknown option --fromat (did you mean --format?)' list --fromat
    hint 'pagelock-bench: Unknown option --nosuch' list --nosuch
    hint 'pagelock-bench: unknown policy: sequental (did you mean sequential?)' replay --policy none,sequental "$fault"
    hint 'pagelock-bench: unknown implementation: pagelok (did you mean pagelock?)' replay --impl pagelok "$code"
    hint 'pagelock-bench: unknown case: colection-empty (did you mean collection-empty?)' micro colection-empty
    hint 'pagelock-bench: unknown case: contendet (did you mean contended?)' micro contendet
    hint 'pagelock-bench: unknown hand-over: folow (did you mean follow?)' pager --handover folow
    hint 'pagelock-bench: --format is neither table nor json: jsno (did you mean json?)' list --format=jsno
    hint 'sequental: cannot open: No such file or directory (did you mean sequential?)' pager --size 1 sequental
}

commands() {
    "$bench" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'
}

# A default, or that there is none.
help_has_the_defaults() {
    [ "$(commands | wc -l)" -ge 7 ] || fail "--help names $(commands)"
    for command in $(commands); do
        "$bench" "$command" --help >"$dir/out"
        grep -E '^  (-., )?--' "$dir/out" | grep -v -e '--help ' -e 'default' && fail "$command --help has no default for that"
        grep -q -- '--format=FORMAT .*default: table' "$dir/out" || fail "$command --help: $(cat "$dir/out")"
    done
    "$bench" micro --help | grep -q -- '--repeat=N .*default: 5$' || fail "micro --repeat has another default"
    "$bench" replay --help | grep -q -- '--page-ns=NS .*default: 1130$' || fail "replay --page-ns has another default"
}

# narrow ARGUMENT...: no line of the output has 100 columns
narrow() {
    "$bench" "$@" >"$dir/out" 2>"$dir/err" || fail "$*: $(cat "$dir/err")"
    [ -s "$dir/out" ] || fail "$* printed nothing"
    awk 'length($0) > 99 { print length($0) ": " $0; wide = 1 } END { exit wide }' "$dir/out" || fail "$* is too wide"
}

tables_are_narrower_than_100_columns() {
    narrow --help
    for command in $(commands); do
        narrow "$command" --help
    done
    narrow list
    narrow machine
    narrow replay --repeat 1 "$code"
    narrow replay --yardstick "$fault" "$traces/fault-vm-resume.trace.gz"
    narrow micro --repeat 1 --ms 1 lock store-begin collection-far range superblock
    narrow latency --seconds 0.1
    [ "$(id -u)" -ne 0 ] || narrow pager --size 1 --repeat 1
}

# drawn COLUMNS: the width of the widest thing that the command draws on a terminal of that width
drawn() {
    python3 - "$1" "$bench" replay --repeat 1 --impl pagelock "$code" <<'END'
import fcntl, os, pty, re, struct, sys, termios
columns = int(sys.argv[1])
pid, terminal = pty.fork()
if not pid:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    os.execv(sys.argv[2], sys.argv[2:])
text = b""
try:
    while chunk := os.read(terminal, 4096):
        text += chunk
except OSError: # the other side has ended
    pass
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
print(max(map(len, re.split(rb"[\r\n]", text))), text.count(b"%"))
END
}

bars_fit_the_terminal() {
    for columns in 40 60 132; do
        [ "$(drawn $columns)" = "$((columns - 1)) 2" ] || fail "on $columns columns: $(drawn $columns)"
    done
    [ "$(drawn 20)" = '19 2' ] || fail "on 20 columns: $(drawn 20)" # the share, and then blanks
}

# A locale that writes 1,5 has no part in what is printed, in what options mean, or in a plot.
figures_are_the_same_in_a_locale_with_commas() {
    if ! localedef -i de_DE -f UTF-8 "$dir/de_DE.UTF-8" 2>"$dir/err" && ! [ -e "$dir/de_DE.UTF-8/LC_NUMERIC" ]; then
        echo "SKIP: figures_are_the_same_in_a_locale_with_commas: there is no de_DE to make a locale of: $(head -n 1 "$dir/err")"
        return
    fi
    export LOCPATH="$dir"
    [ "$(LC_ALL=de_DE.UTF-8 python3 -c 'import locale; locale.setlocale(locale.LC_ALL, ""); print(locale.str(1.5))')" = 1,5 ] ||
        fail "the locale that was made has no comma"
    for format in json table; do
        "$bench" replay --policy none,sequential --format=$format "$fault" >"$dir/c" 2>"$dir/err"
        LC_ALL=de_DE.UTF-8 "$bench" replay --policy none,sequential --format=$format "$fault" >"$dir/de" 2>"$dir/err"
        # The last figure is a time.
        sed 's/"decide_ns":[^}]*//; s/ *[0-9.]*$//' "$dir/c" >"$dir/c.counts"
        sed 's/"decide_ns":[^}]*//; s/ *[0-9.]*$//' "$dir/de" | cmp -s - "$dir/c.counts" || fail "$format: $(cat "$dir/de")"
    done
    LC_ALL=de_DE.UTF-8 "$bench" latency --seconds 0.1 --format=json >"$dir/out" 2>"$dir/err" || fail "0.1: $(cat "$dir/err")"
    LC_ALL=de_DE.UTF-8 "$bench" replay --repeat 1 --format=json "$code" >"$dir/de.json" 2>"$dir/err"
    python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' "$dir/de.json" || fail "rows in de_DE"
    LC_ALL=de_DE.UTF-8 "$bench" draw --plot "$dir/de.svg" "$dir/de.json" >"$dir/out" 2>"$dir/err" || fail "$(cat "$dir/err")"
    "$bench" draw --plot "$dir/c.svg" "$dir/de.json"
    cmp -s "$dir/de.svg" "$dir/c.svg" || fail "the same rows are drawn in another way in de_DE"
    unset LOCPATH
}

# The rows of two cases and two replays, in which the same names stand in another order.
rows() {
    echo '{"bench":"machine","processor":"Some processor","date":"2026-01-02"}'
    for trace in one two; do
        for impl in plain pagelock; do
            echo '{"bench":"replay","trace":"'$trace'","impl":"'$impl'","threads":1,"ns_per_event":9,"ns_min":8,"ns_max":12}'
        done
    done
    for threads in 1 2; do
        for impl in pagelock plain; do
            echo '{"bench":"micro","case":"hot","impl":"'$impl'","threads":'$threads',"pages":1,"ns_per_op":9,"ns_min":7,"ns_max":9}'
            echo '{"bench":"micro","case":"still","impl":"'$impl'","threads":1,"pages":1,"ns_per_op":9,"ns_min":7,"ns_max":9}'
        done
    done
}

plots_can_be_compared() {
    rows >"$dir/rows.json"
    for names in 'one two' hot; do
        "$bench" draw --plot "$dir/plot.svg" "$dir/rows.json" $names >"$dir/out" 2>"$dir/err" || fail "draw: $(cat "$dir/err")"
        for colour in 0,\ *114,\ *178 213,\ *94,\ *0; do # of pagelock, and of plain
            grep -Eiq "rgb\( *$colour *\)" "$dir/plot.svg" || fail "a plot of $names has no colour $colour"
        done
        for title in $names 'Some processor, 2026-01-02'; do
            grep -q ">$title<" "$dir/plot.svg" || fail "a plot of $names does not say $title"
        done
    done
    "$bench" draw --plot "$dir/wide.svg" "$dir/rows.json" one
    sed 's/"ns_max":12/"ns_max":9/; s/"ns_min":8/"ns_min":9/' "$dir/rows.json" >"$dir/same.json"
    "$bench" draw --plot "$dir/same.svg" "$dir/same.json" one
    ! cmp -s "$dir/wide.svg" "$dir/same.svg" || fail "the spread is not drawn"
    "$bench" draw --plot "$dir/plot.png" "$dir/rows.json" && [ "$(head -c 4 "$dir/plot.png" | tail -c 3)" = PNG ] || fail "png"
    hint "pagelock-bench: $dir/rows.json has nothing to draw: no replay, no case that varies threads or pages" \
        draw --plot "$dir/none.svg" "$dir/rows.json" still
    hint 'pagelock-bench: unknown trace or case: tow (did you mean two?)' draw --plot "$dir/none.svg" "$dir/rows.json" hot tow
    hint 'pagelock-bench: draw wants --plot, and a file of rows as --format=json prints them' draw "$dir/rows.json"
    printf '{"bench":"micro"}\n{' >"$dir/bad.json"
    hint "pagelock-bench: $dir/bad.json:2: not a row as --format=json prints them" draw --plot "$dir/none.svg" "$dir/bad.json"
    echo '{"bench":[],"trace":{},"case":[1],"impl":null,"threads":[],"ns_per_op":{},"ns_min":"1"}' >"$dir/odd.json"
    hint "pagelock-bench: $dir/odd.json has nothing to draw: no replay, no case that varies threads or pages" \
        draw --plot "$dir/none.svg" "$dir/odd.json"
    printf '[]\n' >"$dir/bad.json"
    hint "pagelock-bench: $dir/bad.json:1: not a row as --format=json prints them" draw --plot "$dir/none.svg" "$dir/bad.json"
    [ ! -e "$dir/none.svg" ] || fail "a plot that was not drawn left a file"
    # As it is measured: the same corner, from this machine; the rows of a fault trace are drawn as the replay draws them.
    "$bench" replay --plot "$dir/plot.svg" "$fault" >"$dir/out" 2>"$dir/err"
    {
        "$bench" machine --format=json
        "$bench" replay --yardstick --format=json "$fault" | grep yardstick
        "$bench" replay --format=json "$fault"
    } >"$dir/fault.json"
    "$bench" draw --plot "$dir/again.svg" "$dir/fault.json" && cmp -s "$dir/plot.svg" "$dir/again.svg" ||
        fail "the rows of a fault trace are drawn in another way"
    grep -q ">$("$bench" machine --format=json | sed -n 's/.*"processor":"\([^"]*\)".*"date":"\([^"]*\)".*/\1, \2/p')<" \
        "$dir/plot.svg" || fail "a plot does not say processor and date"
}

# Each trace that pagelock-trace(5) shows is one.
traces_of_the_manual_page_are_replayed() {
    awk -v dir="$dir" '/^\.EX/ { n++; inside = 1; next } /^\.EE/ { inside = 0 }
        inside { gsub(/\\-/, "-"); print >(dir "/example-" n) }' "$top/docs/pagelock-trace.5"
    n=0
    for example in "$dir"/example-*; do
        head -n 1 "$example" | grep -q '^# pagelock-trace 1 ' || continue
        gzip -c "$example" >"$dir/example.trace.gz"
        "$bench" replay --repeat 1 "$dir/example.trace.gz" >"$dir/out" 2>"$dir/err" || fail "$(cat "$example" "$dir/err")"
        n=$((n + 1))
    done
    [ $n -eq 2 ] || fail "docs/pagelock-trace.5 has $n examples"
}

mistyped_words_get_a_hint
help_has_the_defaults
tables_are_narrower_than_100_columns
bars_fit_the_terminal
figures_are_the_same_in_a_locale_with_commas
plots_can_be_compared
traces_of_the_manual_page_are_replayed
exit $failed
