#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: docs.sh SOURCES: names, files and links in the documents exist, and no sentence begins with What, Who or Where;
# each source file has its row in design.md; each picture is shown and has its source; no two invariants have one name;
# man pages have a date, files their licence; every exported function has its comment, and each test that is named exists.
set -u
export LC_ALL=C
cd "$1" || exit 1
failed=0

fail() {
    echo "FAILED: $*"
    failed=1
}

for doc in README.md docs/*.md docs/*.[157]; do
    gone=
    [ "$doc" != docs/CHANGELOG.md ] || gone='s/^| `[^|]*|/|/' # the first column of its tables
    for name in $(sed "$gone" "$doc" | grep -oE '\b(pgl|PGL)_[A-Za-z0-9_]*[A-Za-z0-9]' | sort -u); do
        grep -rqw --include="*.[ch]" -- "$name" include src tests || fail "$doc: $name is nowhere in the source"
    done
    ! grep -nE '(^|[.:] )(What|Who|Whoever|Whose|Where) ' "$doc" | grep -v '?' || fail "$doc: not plain English"
    for link in $(grep -oE '\]\([^)#:]+' "$doc" | cut -c 3-); do
        [ -e "$(dirname "$doc")/$link" ] || fail "$doc: no such file: $link"
    done
    for path in $(grep -oE '`(bench|docs|include|src|tests)/[A-Za-z0-9_./-]*`' "$doc" | tr -d '`' | sort -u); do
        [ -e "$path" ] || fail "$doc: no such file: $path"
    done
done
# Each test that a document or a comment names exists: a function, a program, or a test of meson's.
names='\b(test|stress)_[A-Za-z0-9_]*[A-Za-z0-9]'
for name in $({
    { grep -rhoE "$names" tests; find tests -name 'test_*.*' | sed 's|.*/||; s|\..*||'; } | sed 's/^/is /'
    grep -rhoE "$names" README.md docs/*.md include src | sort -u | sed 's/^/named /'
} | awk '$1 == "is" { all = all "\n" $2 } $1 == "named" && !index(all, "\n" $2) { print $2 }'); do
    grep -q "'${name#*_}'" tests/meson.build || fail "there is no test $name, which a document or a comment names"
done
for source in docs/pictures/*.dot docs/pictures/*.msc; do
    picture=$(basename "${source%.*}.svg")
    [ -e "docs/pictures/$picture" ] || fail "$source: docs/pictures/draw has not drawn it"
    grep -q "](pictures/$picture)" docs/*.md || fail "no document shows docs/pictures/$picture"
done
for picture in docs/pictures/*.svg; do
    [ -e "${picture%.svg}.dot" ] || [ -e "${picture%.svg}.msc" ] || fail "$picture has no source"
done
for file in src/*/*.c; do
    grep -qF "\`$file\`" docs/design.md || fail "docs/design.md does not say what $file is for"
done
# Each tag of a protocol is defined.
tags=$(grep -rhoE '^ \* [A-Z][A-Z ]{11} [^ ]|^ \* [A-Z][A-Z ]+[A-Z]$' --include='*.[ch]' src |
    sed -E 's/^ \* //; s/ +[^ ]?$//; s/ /_/g' | sort -u)
for tag in ${tags:-none}; do
    tag=$(echo "$tag" | tr _ ' ')
    grep -qE "^\| ([A-Z ]+, )*$tag(, [A-Z ]+)* \|" docs/CONTRIBUTING.md || fail "docs/CONTRIBUTING.md does not define $tag"
done
for name in $(grep -rhoE '^ \* +(INVARIANTS +)?[A-Z][0-9]+(:|  )' src | grep -oE '[A-Z][0-9]+' | sort | uniq -d); do
    fail "two invariants are named $name"
done
# The README names each package that the scripts install.
needs=$(. .ci/setup.sh; need() { echo "$1"; }; needs_to_measure; needs_to_test)
named=$(tr '\n' ' ' <README.md | sed -n 's/.*Debian has all of it: `\([^`]*\)`.*/\1/p')
for package in ${needs:-none}; do
    case " $named " in
    *" $package "*) ;;
    *) fail "README.md does not name the package $package" ;;
    esac
done
for header in include/pagelock/*.h; do
    grep -q "pagelock/$(basename "$header")" docs/libpagelock.7 || fail "docs/libpagelock.7 does not name $header"
done
for page in docs/*.[157]; do
    grep -qE '^\.TH [A-Z-]+ [157] [0-9]{4}-[0-9]{2}-[0-9]{2} "libpagelock @VERSION@" ' "$page" ||
        fail "$page has no date, or not the version that meson fills in"
done
# The permission for what the headers' inline functions become, word for word in both places.
permission='the distribution, under terms of your choice, of object code that contains material from the(se)? headers'
for file in README.md include/pagelock/inline/macros.h; do
    tr '\n' ' ' <"$file" | sed 's/  *\* / /g' | grep -qE "$permission" || fail "$file lacks the permission for headers"
done
# The hosted CI runs the steps of this one, and no list of its own.
grep -qE '^ +- run: \.ci/run$' .github/workflows/*.yml || fail "no workflow calls .ci/run"
for file in $(git ls-files 2>/dev/null | grep -vE '\.(md|patch|gz|svg)$|^bench/results/.*\.json$|^LICENSE$|^tests/fuzz/(corpus|found)/'); do
    case $file in
    tests/qemu/port/*) licence='GPL-2\.0-or-later' ;; # compiled into QEMU
    docs/debian/changelog | docs/debian/copyright | docs/debian/source/format) continue ;; # they have no comments
    *) licence='LGPL-2\.1-or-later' ;;
    esac
    head -n 2 "$file" | grep -q "SPDX-License-Identifier: $licence" || fail "$file does not say its licence"
done
for name in $(sed -n 's/^PGL_\(API\|INLINE\) .*[ *]\(pgl_[a-z0-9_]*\)(.*/\2/p' include/pagelock/*.h | sort -u); do
    case $name in
    *_slow) continue ;; # of an inline function, which has the comment
    esac
    grep -qE "^ \* ${name%_at}(\(.*\))? - " include/pagelock/*.h || fail "$name has no comment"
done
exit $failed
