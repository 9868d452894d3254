# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faulting pages: the advisor."""
import threading

from .binding import ON_PAGE, Owned, Struct, callback, failed, lib, this_thread


class Advisor(Owned):
    """Chooses which absent neighbours to fetch with a page, and learns from the order of the faults. The costs, in
    nanoseconds, are those of a request and of each page that it fetches; 0: not known."""

    _free = lib.pgl_advisor_free

    def __init__(self, fault_ns=0, page_ns=0):
        super().__init__(lib.pgl_advisor_new(self._costs(fault_ns, page_ns)))
        self._turn = threading.Lock()  # one call at a time

    @staticmethod
    def _costs(fault_ns, page_ns):
        costs = Struct("costs", fault_ns=fault_ns, page_ns=page_ns)
        why = lib.pgl_costs_explain(costs)
        if why:
            raise ValueError(why.decode())
        return costs

    def set_costs(self, fault_ns, page_ns):
        if not self._in_turn(lib.pgl_advisor_set_costs, self._costs(fault_ns, page_ns)):
            raise failed()

    def _in_turn(self, function, *arguments):
        if this_thread.callbacks:
            raise RuntimeError("a callback cannot wait for an advisor")
        with self._turn:
            return self.call(function, *arguments)

    def decide(self, demand, last, absent=None, before=63, after=63, budget=63):
        """(reason, first page, last page) for a fault on page @demand of [0, @last]: "start", "up", ... The function
        absent(page) says which pages may be fetched with it; without one, all."""
        args, cluster = Struct("cluster_args", demand=demand, object_last=last, budget=budget), Struct("cluster")
        args["row.before"], args["row.after"] = before, after
        if absent:
            args["eligible.page"] = callback(ON_PAGE, lambda _, page: absent(page))
        reason = lib.pgl_reason_name(self._in_turn(lib.pgl_advisor_decide, args, cluster)).decode()
        if reason == "outside":
            raise IndexError(demand)
        return reason, cluster["first"], cluster["last"]
