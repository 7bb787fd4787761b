/*
 * What this boot was measured as: PCRs of the TPM, and the event log of the
 * firmware that explains them. Read from where the kernel shows them, and put
 * into words for the console, where a host without any software of ours in
 * the guest's place can read them.
 */
#ifndef HAL_MEASUREMENT_H
#define HAL_MEASUREMENT_H

#include "hal/cmdline.h"

#define HAL_PCR_DIR "/sys/class/tpm/tpm0/pcr-sha256"
#define HAL_EVENT_LOG "/sys/kernel/security/tpm0/binary_bios_measurements"

#define HAL_PCR_COUNT 11 /* 0 to 10: firmware, boot, and the kernel's own of those */
#define HAL_PCR_TEXT 65  /* hex digits of SHA-256 and a NUL                        */

struct hal_pcrs {
    char hex[HAL_PCR_COUNT][HAL_PCR_TEXT]; /* lower case */
};

/*
 * Reads PCRs 0 to 10 from the files 0 to 10 of dir (HAL_PCR_DIR). *ret_there
 * is false, without an error, when there is no dir: no TPM, or none with a
 * SHA-256 bank. INVALID when a file holds something else than one digest.
 */
bool hal_pcrs_read(const char *dir, struct hal_pcrs *ret, bool *ret_there, struct err *e) MUST_CHECK;

#define HAL_EVENT_LOG_MAX ((size_t)256 * 1024)
#define HAL_EVENT_LOG_BEGIN "-----BEGIN TPM EVENT LOG-----"
#define HAL_EVENT_LOG_END "-----END TPM EVENT LOG-----"

/*
 * Appends the file (HAL_EVENT_LOG) as base64, 76 digits a line, between the
 * two lines above. LIMIT above HAL_EVENT_LOG_MAX bytes.
 */
bool hal_event_log_text(const char *path, struct buf *out, struct err *e) MUST_CHECK;

/*
 * Whether the kernel command line asks for the event log on the console, by
 * the word cocos.event-log=console. HAL_BAD when it says anything else of it.
 */
enum hal_found hal_event_log_wanted(struct slice cmdline, struct err *e) MUST_CHECK;

#endif
