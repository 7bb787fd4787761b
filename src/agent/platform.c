#include "agent/platform.h"

#include <unistd.h>

bool platform_of_agent_type(int32_t type, Attestation__V1__PlatformType *ret)
{
    static const Attestation__V1__PlatformType of[] = {
        ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_SNP,
        ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_VTPM,
        ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_SNP_VTPM,
        ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_AZURE,
        ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_TDX,
    };

    if (type < 0 || (size_t)type >= ARRAY_LEN(of))
        return false;
    *ret = of[type];
    return true;
}

Attestation__V1__PlatformType platform_detect(void)
{
    bool tpm = access("/dev/tpmrm0", R_OK | W_OK) == 0 || access("/dev/tpm0", R_OK | W_OK) == 0;

    if (access("/dev/sev-guest", R_OK) == 0)
        return tpm ? ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_SNP_VTPM
                   : ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_SNP;
    if (access("/dev/tdx_guest", R_OK) == 0)
        return ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_TDX;
    return ATTESTATION__V1__PLATFORM_TYPE__PLATFORM_TYPE_UNSPECIFIED;
}
