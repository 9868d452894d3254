/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "isa.h"

unsigned isa_length(uint8_t op)
{
    if (op < OP_ADDI || op >= OP_COUNT) {
        return 2;
    }
    return op < OP_LI ? 4 : op < OP_LIQ ? 6 : 10;
}

struct insn isa_decode(const uint8_t *bytes)
{
    struct insn insn = {
        .op = bytes[0] < OP_COUNT ? bytes[0] : OP_NOP,
        .length = (uint8_t)isa_length(bytes[0]),
        .rd = bytes[1] >> 4,
        .rs = bytes[1] & 15,
    };

    for (unsigned i = 2; i < insn.length; i++) {
        insn.imm |= (uint64_t)bytes[i] << 8 * (i - 2);
    }
    if (insn.length == 4 && insn.op != OP_COPY) {
        insn.imm = (uint64_t)(int16_t)insn.imm;
    }
    return insn;
}

bool isa_ends_block(const struct insn *insn)
{
    return (insn->op >= OP_SYNC && insn->op <= OP_HALT) || insn->op == OP_FLUSH || insn->op == OP_BNE ||
           insn->op == OP_JAL;
}

static enum leave jump(struct cpu *cpu, uint64_t to, enum leave leave)
{
    cpu->pc = to % VA_SIZE;
    return leave;
}

enum leave isa_execute(struct cpu *cpu, const struct insn *insn, const struct bus *bus, void *machine)
{
    uint64_t *rd = &cpu->reg[insn->rd], rs = cpu->reg[insn->rs];
    uint64_t pc = cpu->pc, next = (pc + insn->length) % VA_SIZE;

    cpu->insns++;
    cpu->pc = next;
    switch (insn->op) {
    case OP_MOV:
        *rd = rs;
        break;
    case OP_ADD:
        *rd += rs;
        break;
    case OP_XOR:
        *rd ^= rs;
        break;
    case OP_MUL:
        *rd = *rd * (rs | 1) + 1;
        break;
    case OP_ADDI:
        *rd = rs + insn->imm;
        break;
    case OP_LI:
    case OP_LIQ:
        *rd = insn->imm;
        break;
    case OP_LD1:
    case OP_LD2:
    case OP_LD4:
    case OP_LD8:
        *rd = bus->load(machine, rs + insn->imm, 1u << (insn->op - OP_LD1));
        break;
    case OP_ST1:
    case OP_ST2:
    case OP_ST4:
    case OP_ST8:
        bus->store(machine, rs + insn->imm, 1u << (insn->op - OP_ST1), *rd);
        break;
    case OP_COPY:
        bus->copy(machine, *rd, rs, (unsigned)(insn->imm % COPY_MAX) + 1);
        break;
    case OP_AGE:
        bus->age(machine, rs);
        break;
    case OP_BNE:
        return *rd != rs ? jump(cpu, pc + insn->imm, LEAVE_TAKEN) : LEAVE_FALL;
    case OP_JAL:
        *rd = next;
        return jump(cpu, pc + insn->imm, LEAVE_TAKEN);
    case OP_JR:
        return jump(cpu, rs, LEAVE_INDIRECT);
    case OP_HALT:
        cpu->halted = true;
        return LEAVE_SYNC;
    case OP_FLUSH:
        bus->flush(machine);
        return LEAVE_SYNC;
    case OP_YIELD:
        bus->yield(machine);
        return LEAVE_SYNC;
    case OP_SYNC:
        return LEAVE_SYNC;
    default:
        break;
    }
    return LEAVE_NEXT;
}
