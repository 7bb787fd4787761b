#include "agent/fsm.h"

const char *fsm_state_name(enum fsm_state state)
{
    static const char *const names[FSM_STATES] = {
        [FSM_IDLE] = "Idle",
        [FSM_RECEIVING_MANIFEST] = "ReceivingManifest",
        [FSM_RECEIVING_ALGORITHM] = "ReceivingAlgorithm",
        [FSM_RECEIVING_DATA] = "ReceivingData",
        [FSM_RUNNING] = "Running",
        [FSM_CONSUMING_RESULTS] = "ConsumingResults",
        [FSM_COMPLETE] = "Complete",
        [FSM_FAILED] = "Failed",
    };

    return (size_t)state < FSM_STATES ? names[state] : "Unknown";
}

const char *fsm_event_name(enum fsm_event event)
{
    static const char *const names[FSM_EVENTS] = {
        [FSM_START] = "Start",
        [FSM_MANIFEST_RECEIVED] = "ManifestReceived",
        [FSM_ALGORITHM_RECEIVED] = "AlgorithmReceived",
        [FSM_DATA_RECEIVED] = "DataReceived",
        [FSM_RUN_COMPLETE] = "RunComplete",
        [FSM_RESULTS_CONSUMED] = "ResultsConsumed",
        [FSM_RUN_FAILED] = "RunFailed",
        [FSM_STOP] = "Stop",
    };

    return (size_t)event < FSM_EVENTS ? names[event] : "Unknown";
}

/* What entering a state brings with it. Running tells of itself: it has two beginnings and two ends. */
static struct fsm_step enter(enum fsm_state to)
{
    switch (to) {
    case FSM_IDLE:
    case FSM_RECEIVING_MANIFEST: return (struct fsm_step){ true, to, 0, NULL, NULL };
    case FSM_RECEIVING_ALGORITHM:
        return (struct fsm_step){ true, to, FSM_DO_LISTEN | FSM_DO_TELL, "ReceivingAlgorithm", "InProgress" };
    case FSM_RECEIVING_DATA: return (struct fsm_step){ true, to, FSM_DO_TELL, "ReceivingData", "InProgress" };
    case FSM_RUNNING: return (struct fsm_step){ true, to, FSM_DO_RUN, NULL, NULL };
    case FSM_CONSUMING_RESULTS:
        return (struct fsm_step){ true, to, FSM_DO_TELL, "ConsumingResults", "Ready" };
    case FSM_COMPLETE:
        return (struct fsm_step){ true, to, FSM_DO_TELL | FSM_DO_FORGET, "Complete", "Completed" };
    case FSM_FAILED:
        return (struct fsm_step){ true, to, FSM_DO_TELL | FSM_DO_CLEAN | FSM_DO_FORGET, "Failed", "Failed" };
    }
    return (struct fsm_step){ 0 };
}

/* Wherever a computation is, stopping it ends in waiting for the next one. */
static struct fsm_step stop(enum fsm_state from)
{
    struct fsm_step s = { true, FSM_RECEIVING_MANIFEST, 0, "Stopped", "Stopped" };

    if (from == FSM_IDLE || from == FSM_RECEIVING_MANIFEST)
        return (struct fsm_step){ true, from, 0, NULL, NULL };
    s.actions = FSM_DO_TELL | FSM_DO_CLEAN | FSM_DO_UNLISTEN | FSM_DO_FORGET;
    if (from == FSM_RUNNING)
        s.actions |= FSM_DO_STOP_RUN;
    return s;
}

struct fsm_step fsm_step(enum fsm_state from, enum fsm_event event, bool has_datasets)
{
    const struct fsm_step nothing = { false, from, 0, NULL, NULL };

    switch (event) {
    case FSM_START: return from == FSM_IDLE ? enter(FSM_RECEIVING_MANIFEST) : nothing;
    case FSM_MANIFEST_RECEIVED:
        return from == FSM_RECEIVING_MANIFEST ? enter(FSM_RECEIVING_ALGORITHM) : nothing;
    case FSM_ALGORITHM_RECEIVED:
        if (from != FSM_RECEIVING_ALGORITHM)
            return nothing;
        return enter(has_datasets ? FSM_RECEIVING_DATA : FSM_RUNNING);
    case FSM_DATA_RECEIVED: return from == FSM_RECEIVING_DATA ? enter(FSM_RUNNING) : nothing;
    case FSM_RUN_COMPLETE: return from == FSM_RUNNING ? enter(FSM_CONSUMING_RESULTS) : nothing;
    case FSM_RESULTS_CONSUMED: return from == FSM_CONSUMING_RESULTS ? enter(FSM_COMPLETE) : nothing;
    case FSM_RUN_FAILED:
        if (from != FSM_RECEIVING_ALGORITHM && from != FSM_RECEIVING_DATA && from != FSM_RUNNING)
            return nothing;
        return enter(FSM_FAILED);
    case FSM_STOP: return stop(from);
    }
    return nothing;
}

static bool refuse(enum rpc_code *ret_code, const char **ret_text, const char *text)
{
    *ret_code = RPC_UNKNOWN; /* upstream's handlers return plain errors: section 4.2 */
    *ret_text = text;
    return false;
}

bool fsm_allows(enum fsm_state state, enum fsm_rpc rpc, enum rpc_code *ret_code, const char **ret_text)
{
    static const char not_now[] = "agent not expecting this operation in the current state";
    static const char not_ready[] = "computation results are not yet ready";

    switch (rpc) {
    case FSM_RPC_ALGO: return state == FSM_RECEIVING_ALGORITHM || refuse(ret_code, ret_text, not_now);
    case FSM_RPC_DATA: return state == FSM_RECEIVING_DATA || refuse(ret_code, ret_text, not_now);
    case FSM_RPC_RESULT:
        if (state == FSM_CONSUMING_RESULTS || state == FSM_COMPLETE)
            return true;
        return refuse(ret_code, ret_text, state == FSM_FAILED ? NULL : not_ready);
    }
    return refuse(ret_code, ret_text, not_now);
}
