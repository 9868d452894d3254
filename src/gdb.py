# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the library knows, for gdb: `source` this file, or let gdb find it beside the installed library.

    pagelock table TABLE     the pages of a table: locks, flags, blocks, owners (of a lock_debug library)
    pagelock page TABLE I    one page, by its index
    pagelock map MAP         the entries of a map
    pagelock object OBJECT   the pages of an object that are requested, in error or waited for, and its counts
    pagelock pager PAGER     the regions of a userfaultfd pager, one map for each address space

Each argument is an expression of gdb's. The program is stopped, or the file is a core. The commands read memory alone and
call nothing; therefore they work in the middle of a call of the library, and a list that is being changed may look cut.
They need the library's debug information.
"""
import struct

import gdb

LOCK, CROSS, HOT = 2, 4, 8  # PGL_HEAD_, beside the tag of a reference
LEVEL_BITS = 9
STATES = ("new", "live", "dead")
EXTERNAL = 1  # PGL_SPECIAL_


def number(value):
    return int(value.cast(gdb.lookup_type("unsigned long long")))


def at(type_name, address):
    return gdb.Value(address).cast(gdb.lookup_type("struct " + type_name).pointer()).dereference()


def words(address, n, size=8):
    """So many unsigned numbers of the program's memory, in its order of bytes."""
    memory = gdb.selected_inferior().read_memory(address, n * size)
    order = ">" if "big endian" in gdb.execute("show endian", to_string=True) else "<"
    return struct.unpack(order + str(n) + {4: "I", 8: "Q"}[size], bytes(memory))


def argument(text, type_name):
    """The struct that an expression is, points to, or has the address of."""
    value = gdb.parse_and_eval(text)
    kind = value.type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_INT:
        kind = gdb.lookup_type("void").pointer()
    pointer = kind.code == gdb.TYPE_CODE_PTR
    struct = (kind.target() if pointer else kind).strip_typedefs()
    if struct.tag != type_name and not (pointer and struct.code == gdb.TYPE_CODE_VOID):
        raise gdb.GdbError(f"{text} is no struct {type_name}, nor a pointer to one")
    if not pointer:
        return value
    if not number(value):
        raise gdb.GdbError(text + " is NULL")
    return at(type_name, number(value))


# ---- code pages ----

def leaves(table):
    """The leaves of a table, in ascending order."""
    pointer = gdb.lookup_type("void").pointer()

    def below(node, shift, slots):
        for child in words(node, slots, pointer.sizeof):
            if child and shift == LEVEL_BITS:
                yield at("pgl_leaf", child)
            elif child:
                yield from below(child, shift - LEVEL_BITS, 1 << LEVEL_BITS)

    root = number(table.address) + table.type.sizeof
    yield from below(root, number(table["top_shift"]), 1 << number(table["root_bits"]))


def pages_of(leaf):
    """The index, head, mask and code bit of each page of a leaf that has any of the last three."""
    base, first = number(leaf["pages"].address), number(leaf["first_index"])
    page = gdb.lookup_type("struct pgl_page")
    head_size = page["head"].type.sizeof
    mask_at = page["mask"].bitpos // 8
    code = [number(leaf["code"][word]) for word in range((1 << LEVEL_BITS) // 64)]
    memory = bytes(gdb.selected_inferior().read_memory(base, page.sizeof << LEVEL_BITS))
    order = "big" if "big endian" in gdb.execute("show endian", to_string=True) else "little"
    for slot in range(1 << LEVEL_BITS):
        here = page.sizeof * slot
        head = int.from_bytes(memory[here:here + head_size], order)
        mask = int.from_bytes(memory[here + mask_at:here + mask_at + 8], order)
        has_code = code[slot // 64] >> slot % 64 & 1
        if head or mask or has_code:
            yield first + slot, base + here, head, mask, has_code


def owners():
    """{address of a page: "thread N at file:line"}, of a lock_debug library; {} of another, which does not note them."""
    found, chosen = {}, gdb.selected_thread()
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        try:
            held = gdb.parse_and_eval("'witness.c'::held")
            for i in range(number(held["n"])):
                page = held["pages"][i]
                found[number(page["page"])] = f"thread {thread.num} at {page['place'].string()}"
        except gdb.error:
            continue
    if chosen:
        chosen.switch()
    return found


def extents(tb):
    n = number(tb["nextents"])
    yield tb["span"]
    for which in range(1, n):
        yield tb["rest"]["second"]["span"] if n == 2 else tb["rest"]["more"][which - 1]["span"]


def blocks(head):
    """The blocks of a page's list, each once. The list of a page that is held may be in the middle of a change."""
    seen, ref = set(), head & ~(LOCK | CROSS | HOT)
    spans = set()
    while ref and ref not in spans:
        spans.add(ref)
        where = ref & ~15
        tb = number(at("pgl_extent", where)["tb"]) if ref & 1 else where
        if tb not in seen:
            seen.add(tb)
            yield at("pgl_tb", tb)
        ref = number(at("pgl_span", where)["next"])


def show_page(index, address, head, mask, has_code, held):
    said = [f"page {index:#x}"]
    if head & LOCK:
        said.append("locked by " + held[address] if address in held else "locked")
    elif address in held:
        said.append("held by " + held[address])  # of a table with external locking, which sets no lock bit
    said += [word for bit, word in ((CROSS, "crossed"), (HOT, "hot")) if head & bit]
    if has_code:
        said.append("code")
    listed = list(blocks(head))
    print(f"{', '.join(said)}; mask {mask:#x}, {len(listed)} blocks")
    for tb in listed:
        state = number(tb["state"])
        ranges = " ".join(f"[{number(span['first']):#x}, {number(span['last']):#x}]" for span in extents(tb))
        print(f"    block {number(tb.address):#x} {STATES[state] if state < 3 else 'damaged'} {ranges}")


def sum_of(table, counter):
    which = number(gdb.parse_and_eval("PGL_TALLY_" + counter))
    tallies = table["tallies"]
    return sum(number(tallies[i]["of"][which]) for i in range(tallies.type.range()[1] + 1)) & (1 << 64) - 1


def table_command(text):
    table = argument(text, "pgl_table")
    held = owners()
    kills = sum_of(table, "KILLS")
    print(f"table {number(table.address):#x}: pages of {1 << number(table['page_bits'])} bytes, addresses of"
          f" {number(table['addr_bits'])} bits, {number(table['leaves'])} leaves, {number(table['hot_pages'])} hot pages")
    print(f"{sum_of(table, 'LINKS') - kills} blocks, {kills} kills, {sum_of(table, 'HITS')} hits,"
          f" {sum_of(table, 'FALSE_ALARMS')} false alarms, {sum_of(table, 'RESTARTS')} restarts,"
          f" {number(table['retries'])} retries, {number(table['contended'])} waits, {number(table['slept'])} slept")
    if number(table["special"]) & EXTERNAL:
        print("the caller's lock protects it")
    turn = table["turns"]
    while number(turn):
        print(f"a waiter starves for the page at {number(turn['page']):#x}")
        turn = turn["behind"]
    for leaf in leaves(table):
        for page in pages_of(leaf):
            show_page(*page, held)


def table_and_index(text):
    """Two expressions, with spaces inside them and between them: what stands before and behind one of the spaces."""
    error = gdb.GdbError("pagelock page TABLE INDEX")
    for space in (at for at, letter in reversed(list(enumerate(text))) if letter == " "):
        try:
            return argument(text[:space], "pgl_table"), number(gdb.parse_and_eval(text[space:]))
        except (gdb.error, gdb.GdbError) as failure:
            error = failure
    raise error


def page_command(text):
    table, index = table_and_index(text)
    for leaf in leaves(table):
        first = number(leaf["first_index"])
        if first <= index < first + (1 << LEVEL_BITS):
            page = leaf["pages"][index - first]
            code = number(leaf["code"][(index - first) // 64]) >> index % 64 & 1
            show_page(index, number(page.address), number(page["head"]), number(page["mask"]), code, owners())
            return
    print(f"page {index:#x} has no leaf")


# ---- faulting pages ----

def bits(word, base):
    """The ranges of pages whose bits are set, as text."""
    said, first = [], None
    for i in range(65):
        is_set = i < 64 and word >> i & 1
        if is_set and first is None:
            first = i
        elif not is_set and first is not None:
            said.append(f"[{base + first}, {base + i - 1}]")
            first = None
    return " ".join(said)


def chunks(shard):
    table = shard["table"]
    if number(table):
        for i in range(number(table["nslots"])):
            if number(table["chunk"][i]):
                yield table["chunk"][i].dereference()


def waiting(queue):
    n, waiter = 0, queue["first"]
    while number(waiter):
        n, waiter = n + 1, waiter["next"]
    return n


def object_line(obj):
    shards = [obj["shards"][i] for i in range(number(obj["last_shard"]) + 1)]
    counts = {name: sum(number(shard[name]) for shard in shards) for name in ("resident", "busy", "outstanding")}
    return shards, (f"object {number(obj.address):#x}: pages [0, {number(obj['config']['last'])}],"
                    f" {counts['resident']} resident, {counts['busy']} busy, {counts['outstanding']} asked for")


def object_command(text):
    shards, line = object_line(argument(text, "pgl_object"))
    print(line)
    for chunk in sorted((chunk for shard in shards for chunk in chunks(shard)), key=lambda chunk: number(chunk["number"])):
        base = 64 * number(chunk["number"])
        said = [f"{name} {bits(number(chunk[name]), base)}" for name in ("busy", "asked", "error") if number(chunk[name])]
        if waiting(chunk["queue"]):
            said.append(f"{waiting(chunk['queue'])} faults wait")
        if said:
            print(f"    pages from {base}: " + ", ".join(said))


def show_map(a_map, unit):
    """Its entries: page numbers, or addresses where @unit is the size of a page."""
    form = (lambda n: hex(n)) if unit > 1 else str
    for i in range(number(a_map["nentries"])):
        entry = a_map["entries"][i]
        first, last = number(entry["view"]["first"]), number(entry["view"]["last"])
        advice = str(entry["advice"]).replace("PGL_ADVICE_", "").lower()
        print(f"    [{form(first * unit)}, {form(last * unit + unit - 1)}] shows page {number(entry['view']['object_first'])}"
              f" of {object_line(entry['object'].dereference())[1]}; advice {advice}")


def map_command(text):
    a_map = argument(text, "pgl_map")
    print(f"map {number(a_map.address):#x}: {number(a_map['nentries'])} entries")
    show_map(a_map, 1)


def pager_command(text):
    pager = argument(text, "pgl_uffd")
    stats = pager["stats"]
    print(f"pager {number(pager.address):#x}: {number(pager['nhandlers'])} handlers, {number(stats['faults'])} faults,"
          f" {number(stats['pages_fetched'])} pages fetched, {number(stats['errors'])} errors")
    space = pager["spaces"]
    while number(space):
        whose = "this process" if number(space) == number(pager["self"]) else "a child"
        print(f"address space {number(space['number'])} of {whose}, descriptor {int(space['fd'])}")
        show_map(space["map"].dereference(), number(pager["page_size"]))
        space = space["next"]


class Pagelock(gdb.Command):
    """Show what libpagelock knows: pagelock table|page|map|object|pager EXPRESSION."""

    COMMANDS = {"table": table_command, "page": page_command, "map": map_command, "object": object_command,
                "pager": pager_command}

    def __init__(self):
        super().__init__("pagelock", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, text, from_tty):
        word, _, rest = text.strip().partition(" ")
        if word not in self.COMMANDS or not rest:
            raise gdb.GdbError(self.__doc__)
        self.COMMANDS[word](rest.strip())


Pagelock()
