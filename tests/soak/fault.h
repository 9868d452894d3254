/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations on faulting pages: kinds of a mix. */
#ifndef PGL_TESTS_SOAK_FAULT_H
#define PGL_TESTS_SOAK_FAULT_H

#include "soak.h"

extern const struct half fault_half;

/* After a run: the pagers have replied in every way, and the objects have counted it. */
bool fault_met_everything(void);

void fault_advise(struct worker *w);    /* change the advice of a range and of an object */
void fault_check(struct worker *w);     /* check an object, and read its statistics */
void fault_continued(struct worker *w); /* fault without sleeping in the driver */
void fault_interrupt(struct worker *w); /* interrupt the fault of any worker */
void fault_remap(struct worker *w);     /* take a range out of the map, and enter it again */
void fault_remove(struct worker *w);    /* remove pages of an object */
void fault_run(struct worker *w);       /* fault, and sleep until it ends */
void fault_teardown(struct worker *w);  /* terminate the objects under the faults of other workers */
void fault_withhold(struct worker *w);  /* take access away from pages */

#endif
