# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory models, weakest promise first."""
import armv8
import power
import rc11
import riscv
import tso

MODELS = {"rc11": rc11, "power": power, "armv8": armv8, "riscv": riscv, "tso": tso}
