/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reference: one instruction at a time, one hart after the other, no translation and no library. */
#include <string.h>

#include "program.h"

enum { TURN = 64 }; /* instructions before the next hart has its turn */

struct machine {
    const struct program *program;
    uint8_t *image;
};

static uint64_t load(void *opaque, uint64_t va, unsigned len)
{
    struct machine *machine = opaque;
    uint64_t value = 0;

    for (unsigned i = 0; i < len; i++) {
        value |= (uint64_t)machine->image[program_ram_at(machine->program, va + i)] << 8 * i;
    }
    return value;
}

static void store(void *opaque, uint64_t va, unsigned len, uint64_t value)
{
    struct machine *machine = opaque;

    for (unsigned i = 0; i < len; i++) {
        machine->image[program_ram_at(machine->program, va + i)] = (uint8_t)(value >> 8 * i);
    }
}

static void copy(void *opaque, uint64_t to, uint64_t from, unsigned len)
{
    uint8_t bytes[COPY_MAX];

    for (unsigned i = 0; i < len; i++) {
        bytes[i] = (uint8_t)load(opaque, from + i, 1);
    }
    for (unsigned i = 0; i < len; i++) {
        store(opaque, to + i, 1, bytes[i]);
    }
}

/* Accessed bits are not part of the reference. */
static void age(void *opaque, uint64_t va)
{
    (void)opaque, (void)va;
}

static void nothing(void *opaque)
{
    (void)opaque;
}

static const struct bus bus = {load, store, copy, age, nothing, nothing};

static void step(struct machine *machine, struct cpu *cpu)
{
    uint8_t bytes[INSN_MAX];
    struct insn insn;

    for (unsigned i = 0; i < INSN_MAX; i++) {
        bytes[i] = (uint8_t)load(machine, cpu->pc + i, 1);
    }
    insn = isa_decode(bytes);
    isa_execute(cpu, &insn, &bus, machine);
}

void program_interpret(const struct program *program, uint8_t *image, struct cpu *cpus)
{
    struct machine machine = {program, image};
    unsigned running = program->nharts;

    memcpy(image, program->image, RAM_SIZE);
    memset(cpus, 0, program->nharts * sizeof(*cpus));
    for (unsigned i = 0; i < program->nharts; i++) {
        cpus[i].pc = program->entry[i];
    }
    while (running) {
        running = 0;
        for (unsigned i = 0; i < program->nharts; i++) {
            for (unsigned n = 0; n < TURN && !cpus[i].halted; n++) {
                step(&machine, &cpus[i]);
            }
            running += !cpus[i].halted;
        }
    }
}
