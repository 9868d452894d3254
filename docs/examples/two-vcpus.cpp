/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The emulator of two-vcpus.c in C++: two vCPUs, jump caches, and a guest that modifies its own code.
 *
 *     c++ -std=c++17 -o two-vcpus two-vcpus.cpp -pthread $(pkg-config --cflags --libs pagelock)
 *     ./two-vcpus
 *
 * prints:
 *
 *     vCPU 0: 500500
 *     vCPU 1: 500500
 */
#include <array>
#include <atomic>
#include <cerrno>
#include <deque>
#include <iostream>
#include <memory>
#include <pagelock/pagelock.h>
#include <system_error>
#include <thread>
#include <vector>

/* An instruction is a word, operation << 16 | n: add n to the sum; increment the word at n; begin the next round at n. */
enum : std::uint32_t { ADD, INC, LOOP };
constexpr unsigned page_bits = 12, ram_bits = 16, rounds = 1000, block_bytes = 32, slots = 16;

/* The instructions from pc to a LOOP or to a multiple of block_bytes. A real emulator has host code in their place. */
struct Block : pgl_tb {
    pgl_tb **slot = nullptr; /* its place in the jump cache */
    unsigned pc = 0;
    std::vector<std::uint32_t> insns;
};

struct Vcpu {
    std::atomic<std::uint32_t> *ram;
    pgl_table *table; /* the library's: which blocks are on each page of ram */
    unsigned pc, rounds_left = rounds, sum = 0;
    std::array<pgl_tb *, slots> cache{}; /* the jump cache: blocks by pc */
    std::deque<Block> blocks{};          /* the code buffer; an element stays where it is */

    /* Execute one instruction of a block. Returns false when the vCPU has to leave the block. */
    bool execute(std::uint32_t insn, const Block &block)
    {
        const unsigned n = insn & 0xffff;

        pc += 4;
        switch (insn >> 16) {
        case ADD:
            sum += n;
            return true;
        case INC:
            /* First the store, then the check: it kills the blocks that have this word among their instructions. */
            ram[n / 4].fetch_add(1, std::memory_order_relaxed);
            return !(pgl_store_check(table, n, 4, &block) & PGL_RUNNING_DEAD);
        default: /* LOOP */
            pc = n;
            rounds_left--;
            return false;
        }
    }

    Block &translate()
    {
        Block &block = blocks.emplace_back();
        unsigned end = pc;
        pgl_bracket bracket;

        if (!pgl_bracket_begin(&bracket, table, pc >> page_bits)) {
            throw std::system_error(errno, std::generic_category(), "pgl_bracket_begin");
        }
        /* The page is locked from here to the commit, or to the abort if an exception leaves this function. */
        const auto abort = [](pgl_bracket *begun) { pgl_bracket_abort(begun); };
        std::unique_ptr<pgl_bracket, decltype(abort)> open(&bracket, abort);

        block.pc = pc;
        do {
            block.insns.push_back(ram[end / 4].load(std::memory_order_relaxed));
            end += 4;
        } while (block.insns.back() >> 16 != LOOP && end % block_bytes);
        block.slot = &cache[pc / 4 % slots];
        pgl_tb_init(&block);
        pgl_tb_set_bytes(&block, 0, pc, end - 1); /* first and last byte */
        pgl_bracket_commit(open.release(), &block, nullptr);
        return block;
    }

    Block &find()
    {
        pgl_tb *&slot = cache[pc / 4 % slots];
        Block *block = static_cast<Block *>(__atomic_load_n(&slot, __ATOMIC_RELAXED));

        while (!block || block->pc != pc) {
            block = &translate();
            block = pgl_cache_tb(&slot, block) ? block : nullptr; /* null: the other vCPU has already killed it */
        }
        return *block;
    }

    void run()
    {
        while (rounds_left) {
            const Block &block = find();

            for (auto insn = block.insns.begin(); insn != block.insns.end() && execute(*insn, block); ++insn) {
            }
        }
    }
};

/* The library calls this with blocks that have just died. When it returns, no vCPU may find them. */
static void retired(pgl_tb *chain, void * /* opaque */) noexcept
{
    for (pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        __atomic_store_n(static_cast<Block *>(tb)->slot, nullptr, __ATOMIC_RELAXED);
    }
}

int main()
{
    static std::array<std::atomic<std::uint32_t>, (1 << ram_bits) / 4> ram;
    std::deque<Vcpu> vcpus;
    std::vector<std::thread> threads;
    pgl_tb_ops ops{};
    pgl_table_config config{};

    ops.retired = retired;
    config.page_bits = page_bits;
    config.addr_bits = ram_bits;
    config.ops = &ops;
    std::unique_ptr<pgl_table, void (*)(pgl_table *)> table(pgl_table_new(&config), pgl_table_free);
    if (!table) {
        throw std::system_error(errno, std::generic_category(), "pgl_table_new");
    }
    for (unsigned start : {0x1000u, 0x1100u}) { /* the vCPUs have their code on one page */
        ram[start / 4] = ADD << 16 | 1;         /* INC increments this 1 in each round, therefore */
        ram[start / 4 + 1] = INC << 16 | start; /* the sum is 1 + 2 + ... + rounds */
        ram[start / 4 + 2] = LOOP << 16 | start;
        vcpus.push_back(Vcpu{ram.data(), table.get(), start});
    }
    for (Vcpu &vcpu : vcpus) {
        threads.emplace_back(&Vcpu::run, &vcpu);
    }
    for (unsigned i = 0; i < threads.size(); i++) {
        threads[i].join();
        std::cout << "vCPU " << i << ": " << vcpus[i].sum << "\n";
    }
}
