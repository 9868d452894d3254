#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: test_command.sh PAGELOCK-BENCH TRACES: what the command prints and returns, for right and for wrong usage.
set -u
. "$(dirname -- "$0")/command.sh"
traces=$(realpath "$2") || exit 1

# expect STATUS MESSAGE ARGUMENT...: that exit status, that line on standard error, and nothing on standard output
expect() {
    status=$1
    message=$2
    shift 2
    "$bench" "$@" >"$dir/out" 2>"$dir/err"
    got=$?
    [ "$got" -eq "$status" ] || fail "status $got in place of $status: $*"
    [ "$(cat "$dir/err")" = "$message" ] || fail "$* said: $(cat "$dir/err")"
    [ -s "$dir/out" ] && fail "$* wrote on standard output"
}

# counts TRACE IMPL THREADS: the figures of a replay that do not depend on the machine, one line
counts() {
    "$bench" replay --format=json --repeat 1 --impl "$2" --threads "$3" "$traces/$1.trace.gz" >"$dir/out" 2>"$dir/err" ||
        fail "replay of $1 with $2 on $3 threads: $(cat "$dir/err")"
    sed -n 's/^{"bench":"replay",\(.*\),"stores_unlocked".*\("ranges".*\),"retries".*/\1,\2/p' "$dir/out"
}

# figure NAME LINE
figure() {
    echo "$2" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"
}

single_thread_gives_the_known_figures() {
    for impl in $("$bench" list | sed -n '/^implementations/,/^[^ ]/s/^  \([a-z]*\) .*/\1/p'); do
        [ "$(counts code-linux-boot "$impl" 1)" = '"trace":"code-linux-boot","impl":"'"$impl"'","threads":1,"events":326522,'\
'"links":88063,"duplicates":150,"stores":238305,"stores_hit":12801,"ranges":4,"killed":15860,"alive":72203' ] ||
            fail "figures of code-linux-boot with $impl"
        [ "$(counts code-luajit "$impl" 1)" = '"trace":"code-luajit","impl":"'"$impl"'","threads":1,"events":1000000,'\
'"links":109350,"duplicates":231,"stores":890415,"stores_hit":16258,"ranges":4,"killed":19312,"alive":90038' ] ||
            fail "figures of code-luajit with $impl"
        [ "$(counts code-node "$impl" 1)" = '"trace":"code-node","impl":"'"$impl"'","threads":1,"events":394610,'\
'"links":244367,"duplicates":14,"stores":150226,"stores_hit":15596,"ranges":3,"killed":18615,"alive":225752' ] ||
            fail "figures of code-node with $impl"
    done
}

# A count, not a time: how many of the stores that hit nothing were answered without a lock.
most_stores_take_no_lock() {
    for trace in code-linux-boot code-luajit code-node; do
        counts $trace pagelock 1 >/dev/null
        line=$(cat "$dir/out")
        [ $((100 * $(figure stores_unlocked "$line"))) -ge \
            $((98 * ($(figure stores "$line") - $(figure stores_hit "$line")))) ] || fail "unlocked: $line"
    done
}

many_threads_lose_no_block() {
    for impl in $("$bench" list | sed -n '/^implementations/,/^[^ ]/s/^  \([a-z]*\) .*/\1/p'); do
        for threads in 2 4 8; do
            line=$(counts code-linux-boot "$impl" $threads)
            links=$(figure links "$line")
            [ "$links" -eq $(($(figure killed "$line") + $(figure alive "$line"))) ] &&
                [ $((links + $(figure duplicates "$line"))) -eq 88213 ] || fail "$impl on $threads threads: $line"
        done
    done
}

# Made so that no thread meets another: then even what was answered without a lock is known.
small_trace_gives_the_known_counts() {
    printf '# pagelock-trace 1 kind=code page_bits=12 vcpus=2\nT 0 1000 4 1\nT 1 2000 4 1\nE 1 2000 4 1\nT 0 3ffe 4 1 4000
W 0 1000 4\nW 0 5000 4\nW 0 6000 64\nW 1 7000 1\nI 0 4000 4000\n' | gzip >"$dir/small.gz"
    for threads in 1 2; do
        for impl in plain,0 global,0 pagelock,3; do
            "$bench" replay --format=json --repeat 1 --threads $threads --impl ${impl%,*} "$dir/small.gz" >"$dir/out" \
                2>"$dir/err" && grep -q '"threads":'$threads',"events":9,"links":3,"duplicates":1,"stores":4,"stores_hit":1,'\
'"stores_unlocked":'${impl#*,}',"ranges":1,"killed":2,"alive":1,"retries":0,.*"hot_bytes":0}$' "$dir/out" ||
                fail "a small trace with $impl on $threads threads: $(cat "$dir/err" "$dir/out")"
        done
    done
}

# hot_bytes N: of a trace in which stores meet the code of N pages again and again without hitting it
hot_bytes() {
    {
        printf '# pagelock-trace 1 kind=code page_bits=12 vcpus=1\n'
        for page in $(seq "$1"); do
            printf 'T 0 %d000 4 1\nT 0 %d010 4 1\n' "$page" "$page"
            yes "W 0 ${page}004 4" | head -n 300
        done
    } | gzip >"$dir/hot.gz"
    "$bench" replay --format=json --repeat 1 --impl pagelock "$dir/hot.gz" 2>"$dir/err" |
        sed -n 's/.*"hot_bytes":\([0-9]*\)}$/\1/p'
}

# Such a page has a bit for each of its bytes, and an index; the first one of its neighbourhood has them counted, too.
hot_page_has_1088_bytes() {
    one=$(hot_bytes 1)
    [ "$(hot_bytes 2)" = $((${one:-0} + 1088)) ] && [ "$(hot_bytes 3)" = $((${one:-0} + 2176)) ] ||
        fail "hot pages have ${one:-no} bytes: $(cat "$dir/err")"
}

# It is looked up page by page by those that do, but not beyond the pages that there are.
wide_range_is_replayed_by_all() {
    for last in ffffffffffff ffffffffffffffff; do
        printf '# pagelock-trace 1 kind=code page_bits=12 vcpus=1\nT 0 1000 4 1\nI - 0 %s\n' $last | gzip >"$dir/wide.gz"
        timeout 60 "$bench" replay --format=json --repeat 1 --impl plain,global,pagelock "$dir/wide.gz" >"$dir/out" \
            2>"$dir/err" && [ "$(grep -c '"ranges":1,"killed":1,"alive":0,' "$dir/out")" -eq 3 ] ||
            fail "a range to $last: $(cat "$dir/err" "$dir/out")"
    done
}

# pairs EXPECTED IMPL,...: which pairs the table for people has a line for
pairs() {
    "$bench" replay --repeat 3 --impl "$2" "$traces/code-linux-boot.trace.gz" >"$dir/out" 2>"$dir/err"
    got=$(sed -n 's/^  \([a-z]*\) takes [0-9.]* times as long as \([a-z]*\) ([0-9.]* - [0-9.]*)$/\1\/\2/p' "$dir/out" |
        tr '\n' ' ')
    [ "$got" = "$1" ] || fail "ratios of $2: $(cat "$dir/out")"
}

table_has_the_ratio_of_each_pair() {
    pairs '' pagelock
    pairs 'pagelock/global ' pagelock,global
    pairs 'plain/global plain/pagelock global/pagelock ' plain,global,pagelock
}

# What bench/figures measured becomes a table with both competitors, each against the library.
tables_show_all_implementations() {
    "$bench" replay --repeat 1 --format=json "$traces/code-linux-boot.trace.gz" >"$dir/replay-1.json" 2>"$dir/err"
    : >"$dir/machine"
    echo '16 8272' >"$dir/sizes"
    python3 "$traces/../tables.py" "$dir" "$dir/results" >"$dir/out" 2>"$dir/err" || fail "tables.py: $(cat "$dir/err")"
    grep -q '^| trace | threads | plain | global | pagelock | plain / pagelock | global / pagelock |$' "$dir/out" &&
        grep -Eq '^\| `code-linux-boot` \| 1 (\| [0-9,]+\.[0-9]+ ){5}\|$' "$dir/out" &&
        cmp -s "$dir/out" "$dir/results/unknown-processor.md" || fail "tables: $(cat "$dir/out")"
    tr -d , <"$dir/out" | awk -F '|' '/^\| `code-linux-boot` \| 1 / {
        right = ($4 > $6) == ($7 > 1) && ($5 > $6) == ($8 > 1)
    } END { exit !right }' || fail "ratios of other pairs: $(cat "$dir/out")"
}

# faults FIGURES ARGUMENT...: faults of the three fault traces
faults() {
    expected=$1
    shift
    "$bench" replay --format=json "$@" "$traces/fault-sqlite-scan.trace.gz" "$traces/fault-git-log.trace.gz" \
        "$traces/fault-vm-resume.trace.gz" >"$dir/out" 2>"$dir/err" || fail "$*: $(cat "$dir/err")"
    got=$(sed -n 's/.*"faults":\([0-9]*\).*/\1/p' "$dir/out" | tr '\n' ' ')
    [ "$got" = "$expected" ] || fail "$* takes $got faults"
}

fault_traces_give_the_known_figures() {
    faults '21482 1572 2698 ' --policy none
    grep -q '"touches":2698,"faults":2698,"requests":2698,"pages_fetched":2698,"pages_used":2698,"unlocks":0,"model_ns":11682340,' \
        "$dir/out" || fail "page by page: $(cat "$dir/out")"
    faults '2693 388 1086 ' --policy sequential --before 0 --after 7
    faults '21482 1572 2698 ' --policy normal --before 0 --after 0
    # Its decisions are timed apart from the faults; the replay sees to it that they are the same ones.
    faults '499 435 1567 ' --policy adaptive
    "$bench" replay --format=json --policy none --fault-ns 10 --page-ns 1 "$traces/fault-git-log.trace.gz" >"$dir/out"
    grep -q '"model_ns":17292,' "$dir/out" || fail "model: $(cat "$dir/out")"
}

# keys EXPECTED ARGUMENT...: the names of the members, an object a line
keys() {
    expected=$1
    shift
    "$bench" "$@" --format=json >"$dir/out" 2>"$dir/err" || fail "$*: $(cat "$dir/err")"
    [ "$(sed 's/"\([a-z0-9_]*\)":[^,}]*[,}]/\1 /g; s/{//; s/ $//' "$dir/out")" = "$expected" ] ||
        fail "keys of $*: $(cat "$dir/out")"
}

json_has_the_keys_in_order() {
    code="bench trace impl threads events links duplicates stores stores_hit stores_unlocked ranges killed alive retries\
 ns_per_event ns_min ns_max table_bytes hot_bytes"
    case="bench case impl threads pages ops ns_per_op ns_min ns_max"
    keys "$code
$code
bench trace threads a b ratio_median ratio_min ratio_max" replay --repeat 1 --impl plain,global \
        "$traces/code-linux-boot.trace.gz"
    keys "bench trace policy touches faults requests pages_fetched pages_used unlocks model_ns to_best decide_ns" \
        replay --policy normal "$traces/fault-git-log.trace.gz"
    keys "$case
$case
bench case threads pages a b ratio_median ratio_min ratio_max" micro --repeat 1 link
    keys "bench case impl threads pages ops ns_per_op ns_min ns_max" micro --repeat 1 fault-resident
}

# Without the right to use userfaultfd the command says so and fails; root has it.
pager_reads_what_is_needed() {
    failed_before=$failed
    keys "$(for way in 1 2 3 4 5 6 7 8; do
        echo "bench order via advice cold bytes_needed bytes_read faults ns_p50 ns_p99 mb_per_s seconds"
    done)" pager --size 1 --repeat 1 sequential
    if [ "$(id -u)" -ne 0 ] && grep -q userfaultfd "$dir/err"; then
        failed=$failed_before
        echo "SKIP: pager_reads_what_is_needed: $(tr '\n' ' ' <"$dir/err")"
        return
    fi
    [ "$(grep -c '"via":"uffd","advice":"none",.*"bytes_needed":1048576,"bytes_read":1048576,"faults":256,' "$dir/out")" -eq 1 ] ||
        fail "page by page: $(cat "$dir/out")"
    "$bench" pager --size 1 --repeat 1 --after 31 --format=json random >"$dir/out" 2>"$dir/err"
    [ "$(grep -c '"via":"uffd","advice":"random",.*"bytes_needed":65536,"bytes_read":65536,"faults":16,' "$dir/out")" -eq 1 ] ||
        fail "at random: $(cat "$dir/out")"
    "$bench" pager --size 1 --repeat 1 --handover sigbus --format=json random >"$dir/out" 2>"$dir/err"
    [ "$(grep -c '"via":"uffd","advice":"random",.*"bytes_needed":65536,"bytes_read":65536,"faults":16,' "$dir/out")" -eq 1 ] ||
        fail "by the thread itself: $(cat "$dir/out")"
    "$bench" pager --repeat 1 --format=json "$traces/fault-git-log.trace.gz" >"$dir/out" 2>"$dir/err"
    [ "$(grep -c '"order":"fault-git-log","via":"uffd","advice":"none",.*"faults":1572,' "$dir/out")" -eq 1 ] ||
        fail "a trace: $(cat "$dir/out")"
    # A write to a page that is not there is a fault of its own, whatever the kernel reads ahead; in memory it reads nothing.
    {
        printf '# pagelock-trace 1 kind=fault page_bits=12\n# object 0 64 x\n'
        seq 0 63 | sed 's/.*/& 0 & w/'
    } | gzip >"$dir/writes.trace.gz"
    shm=$(mktemp -p /dev/shm 2>"$dir/err") || return
    head -c 262144 /dev/zero | tr '\0' x >"$shm"
    "$bench" pager --repeat 1 --format=json --file "$shm" "$dir/writes.trace.gz" >"$dir/out" 2>"$dir/err"
    rm -f "$shm"
    [ "$(sed -n 's/.*"via":"uffd".*"cold":false,"bytes_needed":262144,"bytes_read":262144,"faults":\([0-9]*\),.*/\1/p' \
        "$dir/out" | tr '\n' ' ')" = '64 64 5 2 6 ' ] || fail "writes through userfaultfd: $(cat "$dir/out" "$dir/err")"
    # The process may have a few more of its own; the thread sanitizer has several for each page.
    own='6[4-9]\|7[0-2]'
    grep -q __tsan_init "$bench" && own='[0-9]*'
    [ "$(grep -c '"via":"mmap".*"cold":false,"bytes_needed":262144,"bytes_read":0,"faults":\('"$own"'\),' \
        "$dir/out")" -eq 3 ] || fail "writes through mmap: $(cat "$dir/out" "$dir/err")"
    printf '# pagelock-trace 1 kind=fault page_bits=12\n# object 0 8 x\n0 0 1 r\n1 0 3 r\n2 0 1 w\n3 0 1 r\n' |
        gzip >"$dir/again.trace.gz"
    "$bench" pager --repeat 1 --format=json "$dir/again.trace.gz" >"$dir/out" 2>"$dir/err"
    [ "$(grep -c '"bytes_needed":8192,' "$dir/out")" -eq 8 ] || fail "a page touched again: $(cat "$dir/out" "$dir/err")"
}

# A database of 1 MiB and six queries, through the shim of the recorder.
program_runs_in_each_way() {
    if ! command -v sqlite3 >/dev/null; then
        echo "SKIP: program_runs_in_each_way: there is no sqlite3"
        return
    fi
    if grep -q '__[at]san_init' "$bench"; then
        echo "SKIP: program_runs_in_each_way: a sanitizer's runtime wants to be the first that is preloaded"
        return
    fi
    failed_before=$failed
    keys "$(for way in 1 2 3 4 5; do
        echo "bench via advice scan range points index join order seconds times_mmap faults bytes_read"
    done)" pager --program --size 1 --repeat 1
    if [ "$(id -u)" -ne 0 ] && grep -q userfaultfd "$dir/err"; then
        failed=$failed_before
        echo "SKIP: program_runs_in_each_way: $(tr '\n' ' ' <"$dir/err")"
        return
    fi
    grep -q '"via":"mmap",.*"times_mmap":1,"faults":0,"bytes_read":0}' "$dir/out" || fail "mmap: $(cat "$dir/out")"
    [ "$(grep -c '"via":"uffd",.*"faults":[1-9][0-9]*,"bytes_read":[1-9]' "$dir/out")" -eq 4 ] ||
        fail "through the shim: $(cat "$dir/out")"
}

plot_is_drawn() {
    "$bench" replay --repeat 1 --plot "$dir/plot.svg" "$traces/code-linux-boot.trace.gz" \
        "$traces/fault-git-log.trace.gz" >"$dir/out" 2>"$dir/err" && grep -q '</svg>' "$dir/plot.svg" &&
        grep -q '>fault-git-log<' "$dir/plot.svg" || fail "replay --plot: $(cat "$dir/err")"
    "$bench" micro --repeat 1 --plot "$dir/plot.svg" collection-empty >"$dir/out" 2>"$dir/err" &&
        grep -q '>pagelock<' "$dir/plot.svg" && ! grep -q '>fault-git-log<' "$dir/plot.svg" ||
        fail "micro --plot: $(cat "$dir/err")"
    for kind in png pdf; do
        "$bench" replay --policy none --plot "$dir/plot.$kind" "$traces/fault-git-log.trace.gz" >"$dir/out" \
            2>"$dir/err" && [ -s "$dir/plot.$kind" ] || fail "replay --plot plot.$kind: $(cat "$dir/err")"
    done
}

# The name of a file is never a command of gnuplot's, nor of a shell's.
plot_draws_names_as_they_are() {
    mkdir "$dir/names"
    cp "$traces/fault-git-log.trace.gz" "$dir/names/';system(\"touch PWNED\");print '.trace.gz"
    cp "$traces/fault-git-log.trace.gz" "$dir/names/\");system('touch PWNED');print(\".trace.gz"
    cp "$traces/fault-git-log.trace.gz" "$dir/names/\`touch PWNED\`.trace.gz"
    cp "$traces/fault-git-log.trace.gz" "$dir/names/new
system('touch PWNED')
line.trace.gz"
    cp "$traces/fault-git-log.trace.gz" "$dir/names/it's \\ 10% {of} @x.trace.gz"
    for plot in plot.svg "it's.svg" '|touch PWNED;.svg' '~x`touch PWNED`%d.svg'; do
        (cd "$dir/names" && "$bench" replay --policy none --plot "$plot" ./*.trace.gz >../out 2>../err) &&
            grep -q "it's \\\\ 10% {of} @x" "$dir/names/$plot" || fail "--plot $plot: $(cat "$dir/err")"
    done
    [ ! -e "$dir/names/PWNED" ] || fail "a trace's name was run as a command"
}

# Before anything is measured.
plot_that_cannot_be_drawn_is_said_first() {
    trace="$traces/code-linux-boot.trace.gz"
    PATH=/nonexistent "$bench" replay --plot "$dir/none.svg" "$trace" >"$dir/out" 2>"$dir/err"
    [ $? -eq 1 ] && [ "$(cat "$dir/err")" = "pagelock-bench: cannot draw $dir/none.svg: there is no gnuplot" ] ||
        fail "a plot without gnuplot: $(cat "$dir/err")"
    [ ! -s "$dir/out" ] || fail "that there is no gnuplot was found after the measurement"
    expect 1 "pagelock-bench: cannot write $dir/none/x.svg: No such file or directory" replay \
        --plot "$dir/none/x.svg" "$trace"
    expect 2 "pagelock-bench: --plot wants a name that ends in .svg, .png or .pdf: x.jpg" replay --plot x.jpg "$trace"
    expect 2 "pagelock-bench: there is nothing to draw in $dir/none.svg: no case that is named varies threads or pages" \
        micro --plot "$dir/none.svg" fault-resident
    expect 2 "$dir:1: cannot read: Is a directory" replay --plot "$dir/none.svg" "$dir"
    [ ! -e "$dir/none.svg" ] || fail "a plot that was not drawn left a file"
    echo kept >"$dir/kept.svg"
    expect 2 "$dir:1: cannot read: Is a directory" replay --plot "$dir/kept.svg" "$dir"
    [ "$(cat "$dir/kept.svg")" = kept ] || fail "a plot that was not drawn overwrote a file"
}

bad_input_is_named_with_file_and_line() {
    good="$dir/good.trace.gz"
    printf '# pagelock-trace 1 kind=code page_bits=12 vcpus=1\nT 0 0 1 a\n' | gzip >"$good"
    printf '# pagelock-trace 1 kind=code page_bits=12 vcpus=1\nT 0 0 1 a\nI 0 9 8\n' | gzip >"$dir/range.gz"
    head -c 1000 "$traces/code-luajit.trace.gz" >"$dir/cut.gz"
    : >"$dir/empty.gz"
    zcat "$good" >"$dir/plain"
    expect 2 "$dir/range.gz:3: the range ends before it starts" replay "$dir/range.gz"
    expect 2 "$dir/empty.gz:1: the file is empty" replay "$dir/empty.gz"
    expect 2 "$dir/plain:1: not a gzip file" replay "$dir/plain"
    expect 2 "$dir/none: cannot open: No such file or directory" replay "$dir/none"
    expect 2 "$dir:1: cannot read: Is a directory" replay "$dir"
    "$bench" replay "$dir/cut.gz" >"$dir/out" 2>"$dir/err"
    [ $? -eq 2 ] && grep -q "^$dir/cut.gz:[0-9]*: truncated: the gzip data ends too early$" "$dir/err" ||
        fail "a file that was cut off: $(cat "$dir/err")"
}

wrong_usage_is_named() {
    expect 2 "pagelock-bench: unknown command: nosuch" nosuch
    expect 2 "pagelock-bench: Unknown option --nosuch" replay --nosuch 2 "$good"
    expect 2 "pagelock-bench: --format is neither table nor json: xml" replay --format=xml "$good"
    expect 2 "pagelock-bench: --threads is not in 1..256: 0" replay --threads 0 "$good"
    expect 2 "pagelock-bench: --threads is not in 1..256: 257" replay --threads 257 "$good"
    expect 2 "pagelock-bench: --repeat is not in 1..1000: -1" replay --repeat -1 "$good"
    expect 2 "pagelock-bench: unknown implementation: qemu" replay --impl plain,qemu "$good"
    expect 2 "pagelock-bench: unknown implementation: " replay --impl plain, "$good"
    expect 2 "pagelock-bench: no implementation is named" replay --impl '' "$good"
    expect 2 "pagelock-bench: no policy is named" replay --policy= "$good"
    expect 2 "pagelock-bench: the implementation is named twice: plain" replay --impl plain,plain "$good"
    expect 2 "pagelock-bench: unknown policy: clairvoyant" replay --policy clairvoyant "$good"
    expect 2 "pagelock-bench: the policy is named twice: none" replay --policy none,normal,none "$good"
    expect 2 "pagelock-bench: --before is not in 0..1048576: -1" replay --before -1 "$good"
    expect 2 "pagelock-bench: --after is not in 0..1048576: 1048577" replay --after 1048577 "$good"
    expect 2 "pagelock-bench: --before and --after are for a window, and the policy none has none" replay \
        --policy none --after 3 "$traces/fault-git-log.trace.gz"
    expect 2 "pagelock-bench: --size is for a file that is made, and --file names one" pager --size 1 --file "$bench"
    expect 2 "pagelock-bench: unknown case: nosuch" micro nosuch
    expect 2 "pagelock-bench: --ms is not in 1..60000: 0" micro --ms 0 link
    expect 2 "pagelock-bench: replay wants a trace" replay
    expect 2 "pagelock-bench: $dir/out is not a file of a page or more" pager --file "$dir/out"
    expect 2 "pagelock-bench: cannot open $dir/none: No such file or directory" pager --file "$dir/none"
    expect 2 "pagelock-bench: $bench is too short: the trace wants 393216 pages" pager --file "$bench" \
        "$traces/fault-vm-resume.trace.gz"
    expect 2 "pagelock-bench: $good is not a fault trace" pager "$good"
    expect 2 "pagelock-bench: --size is not in 1..1048576: 0" pager --size 0
    expect 2 "pagelock-bench: unknown hand-over: over" pager --handover over
    for with in random "--file $bench" '--threads 2' '--before 1' '--after 1' '--size 100001'; do
        # shellcheck disable=SC2086
        expect 2 "pagelock-bench: --program goes with --size up to 100000, --handover, --repeat and --format alone" \
            pager --program $with
    done
    expect 2 "pagelock-bench: list takes no argument: x" list x
    "$bench" >"$dir/out" 2>"$dir/err"
    [ $? -eq 2 ] && grep -q '^Usage: ' "$dir/err" || fail "no command at all"
    "$bench" --help >"$dir/out" && grep -q '^Usage: ' "$dir/out" || fail "--help"
    "$bench" --version >"$dir/out" &&
        grep -Eq '^pagelock-bench ([0-9]+\.[0-9]+\.[0-9]+), library \1( \(lock_debug\))?$' "$dir/out" ||
        fail "--version: $(cat "$dir/out")"
    "$bench" replay --help >"$dir/out" && grep -q -- '--impl=' "$dir/out" || fail "replay --help"
}

# warned WARNING ARGUMENT...: the replay succeeds and says that, or nothing where it is empty
warned() {
    warning=${1:+pagelock-bench: warning: $1}
    shift
    "$bench" replay "$@" >"$dir/out" 2>"$dir/err" && [ "$(cat "$dir/err")" = "$warning" ] ||
        fail "replay $*: $(cat "$dir/err")"
}

options_without_a_trace_of_their_kind_are_told() {
    fault="$traces/fault-git-log.trace.gz"
    warned "--threads is for code traces, and there was none" --threads 2 "$fault"
    warned "--impl is for code traces, and there was none" --impl plain --repeat 2 "$fault"
    warned "--repeat is for code traces, and there was none" --repeat 2 --policy none "$fault"
    warned "--policy is for fault traces, and there was none" --repeat 1 --policy none "$good"
    for option in --before --after --fault-ns --page-ns; do
        warned "$option is for fault traces, and there was none" $option 1 "$good"
    done
    warned "" --threads 2 --repeat 1 --after 7 "$good" "$fault"
}

# unwritten REDIRECTION ARGUMENT...: that the output cannot be written is said, once, and is a failure
unwritten() {
    redirection=$1
    shift
    (eval "exec $redirection" && exec "$bench" "$@") 2>"$dir/err"
    got=$?
    [ $got -eq 1 ] && [ "$(wc -l <"$dir/err")" -eq 1 ] && grep -q "^pagelock-bench: cannot write: [^ ]" "$dir/err" ||
        fail "status $got with $redirection: $*: $(cat "$dir/err")"
}

output_that_is_lost_is_an_error() {
    trace="$traces/fault-git-log.trace.gz"
    for redirection in '>/dev/full' '>&-' '<&- >&-'; do
        unwritten "$redirection" --help
        unwritten "$redirection" replay --help
        unwritten "$redirection" list
        unwritten "$redirection" list --format=json
        unwritten "$redirection" replay "$trace"
        unwritten "$redirection" replay --format=json "$trace"
        unwritten "$redirection" micro --repeat 1 fault-resident
    done
    unwritten '>&-' pager --size 1 --repeat 1
    # Neither the trace nor the plot takes the place of a standard stream.
    (exec <&- 2>&- && exec "$bench" replay --policy none --plot "$dir/plot.svg" "$trace") >"$dir/out" &&
        grep -q 1572 "$dir/out" && grep -q '</svg>' "$dir/plot.svg" || fail "no standard input and error"
    "$bench" --help >/dev/full 2>"$dir/err"
    [ "$(cat "$dir/err")" = "pagelock-bench: cannot write: No space left on device" ] ||
        fail "a full device: $(cat "$dir/err")"
}

single_thread_gives_the_known_figures
fault_traces_give_the_known_figures
most_stores_take_no_lock
table_has_the_ratio_of_each_pair
tables_show_all_implementations
wide_range_is_replayed_by_all
many_threads_lose_no_block
small_trace_gives_the_known_counts
hot_page_has_1088_bytes
json_has_the_keys_in_order
pager_reads_what_is_needed
program_runs_in_each_way
plot_is_drawn
plot_draws_names_as_they_are
plot_that_cannot_be_drawn_is_said_first
bad_input_is_named_with_file_and_line
wrong_usage_is_named
options_without_a_trace_of_their_kind_are_told
output_that_is_lost_is_an_error
exit $failed
