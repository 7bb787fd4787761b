/* Whether a user's call may go on, decided before its first message. */
#include <stdio.h>

#include "agent/comp_int.h"
#include "base/log.h"
#include "base/text.h"

static bool refuse(struct rpc_status *ret, enum rpc_code code, const char *text)
{
    ret->code = code;
    snprintf(ret->message, sizeof(ret->message), "%s", text);
    return false;
}

static bool state_allows(const struct comp *c, enum fsm_rpc kind, struct rpc_status *ret)
{
    const char *text = NULL;

    if (!fsm_allows(c->ending == END_NONE ? c->state : FSM_RECEIVING_MANIFEST, kind, &ret->code, &text))
        return text ? refuse(ret, ret->code, text) : refuse(ret, c->failure.code, c->failure.message);
    if (kind == FSM_RPC_ALGO && c->algo != SLOT_PENDING)
        return refuse(ret, RPC_UNKNOWN, "all expected manifest Items have been received");
    return true;
}

/* What clients may name (wire sheet, section 4.4), and whether the runner of this version runs it. */
static const struct {
    const char *name;
    bool is_built;
} algo_kinds[] = {
    { "", true },       { "bin", true },   { "binary", true },
    { "python", true }, { "wasm", false }, { "docker", false },
};

/* Told before gigabytes have come, rather than when it is to run. */
static bool algo_kind_allowed(const struct comp *c, const struct rpc_md *md, struct rpc_status *ret)
{
    struct slice kind = SLICE_EMPTY;
    char shown[TEXT_SHORT_SIZE];

    if (!rpc_md_get(md, "algo_type", 0, &kind) || kind.len == 0)
        kind = slice_of_str(c->mf->algo_type);
    text_short(kind, shown);
    for (size_t i = 0; i < ARRAY_LEN(algo_kinds); i++) {
        if (!slice_equal_str(kind, algo_kinds[i].name))
            continue;
        if (algo_kinds[i].is_built)
            return true;
        ret->code = RPC_UNIMPLEMENTED;
        snprintf(ret->message, sizeof(ret->message),
                 "algorithm type '%s' is not built into this agent yet; it takes bin and python", shown);
        return false;
    }
    ret->code = RPC_INVALID_ARGUMENT;
    snprintf(ret->message, sizeof(ret->message),
             "unknown algorithm type '%s': bin, python, wasm or docker is wanted (cocos-cli algo -a)", shown);
    return false;
}

static bool check(struct comp *c, struct rpc_call *call, enum fsm_rpc kind, struct rpc_status *ret)
{
    static const enum auth_role roles[] = {
        [FSM_RPC_ALGO] = AUTH_ALGORITHM, [FSM_RPC_DATA] = AUTH_DATA, [FSM_RPC_RESULT] = AUTH_CONSUMER
    };
    const struct rpc_md *md = rpc_call_metadata(call);
    struct auth_proof proof;

    auth_proof_read(md, &proof);
    if (!auth_check(c->auth, roles[kind], &proof, clock_wall_ns(c->d.clock) / 1000000000, &c->granted, ret))
        return false;
    if (!c->granted.bound && auth_take_warning(c->auth))
        log_warn("a user of computation %s signed in the plain form, which can be replayed; "
                 "AGENT_REQUIRE_BOUND_SIGNATURES=true refuses it",
                 c->mf->id);
    /* Before anything is received, so that nobody sends gigabytes for nothing (D-11). */
    return state_allows(c, kind, ret) && (kind != FSM_RPC_ALGO || algo_kind_allowed(c, md, ret)) &&
           admit_check(kind == FSM_RPC_RESULT ? &c->downloads_admitted : &c->uploads_admitted, &c->granted,
                       ret);
}

bool upload_allow(struct rpc_call *call, struct comp *c, enum fsm_rpc kind, struct rpc_status *ret)
{
    static const char *const names[] = {
        [FSM_RPC_ALGO] = "Algo", [FSM_RPC_DATA] = "Data", [FSM_RPC_RESULT] = "Result"
    };
    uint64_t started = comp_now_ms(c);
    bool ok = check(c, call, kind, ret);

    c->granted_call = ok ? call : NULL;
    if (!ok)
        comp_log_method(c, names[kind], started, ret->message);
    return ok;
}
