/* probe_x86.h - units of x86 processors that only inline assembler reaches. */
#ifndef IVL_RUNTIME_PROBE_X86_H
#define IVL_RUNTIME_PROBE_X86_H

#include "runtime/device.h"

/* Fills caps.x86_*: the host's processor must have the unit (a driver's assembler takes any
 * instruction), the driver must take inline assembler, and a small exact case must come out right.
 * What was found is remembered with the device's facts: LLVM takes a while to refuse. Fails only
 * for lack of memory. */
ivl_status ivl__probe_x86(ivl__device *device, ivl_error *error);

#endif
