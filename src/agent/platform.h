/*
 * Which kind of confidential machine this is, in both numberings of the
 * protocol (wire sheet, section 8.2).
 */
#ifndef AGENT_PLATFORM_H
#define AGENT_PLATFORM_H

#include "base/attr.h"
#include "proto/attestation.pb-c.h"

/* From the `type` of the agent's API; false for a type that is not attested. */
bool platform_of_agent_type(int32_t type, Attestation__V1__PlatformType *ret) MUST_CHECK;

/* What this machine has, by its devices; UNSPECIFIED when it is not confidential. */
Attestation__V1__PlatformType platform_detect(void);

#endif
