#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: observe_pager.sh GDB COMMANDS PROGRAM: what the command of COMMANDS for gdb says of the pager of the example
# snapshot, when the program is about to free it. It needs the right to use userfaultfd.
set -u
said=$("$1" --batch -nx -x "$2" -ex 'break pgl_uffd_free' -ex run -ex 'pagelock pager uffd' "$3" 2>&1)
failed=0

says() {
    echo "$said" | grep -qE "^$1$" || { echo "FAILED: no line is $1"; failed=1; }
}

echo "$said"
echo "$said" | grep -q 'hit Breakpoint' || { echo 'SKIP: the program was not allowed to page in'; exit 77; }
says 'pager 0x[0-9a-f]+: [0-9]+ handlers, [1-9][0-9]* faults, [1-9][0-9]* pages fetched, 0 errors'
says 'address space [0-9]+ of this process, descriptor [0-9]+'
says ' +\[0x[0-9a-f]+, 0x[0-9a-f]+\] shows page 0 of object 0x[0-9a-f]+: pages \[0, [0-9]+\], [1-9][0-9]* resident, .*'
exit $failed
