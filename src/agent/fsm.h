/*
 * The agent's state machine as a pure table.
 *
 * (state, event) gives (state, what is to be done); nothing is done here. What
 * an event means in a state where it makes no sense is: nothing, and the
 * caller logs it (upstream's machine ends there). Stop is an event too.
 * Spec: wire sheet, sections 2.8, 3 and 4.3.
 */
#ifndef AGENT_FSM_H
#define AGENT_FSM_H

#include "base/attr.h"
#include "rpc/rpc.h"

enum fsm_state {
    FSM_IDLE,
    FSM_RECEIVING_MANIFEST,
    FSM_RECEIVING_ALGORITHM,
    FSM_RECEIVING_DATA,
    FSM_RUNNING,
    FSM_CONSUMING_RESULTS,
    FSM_COMPLETE,
    FSM_FAILED,
};
#define FSM_STATES 8

enum fsm_event {
    FSM_START,
    FSM_MANIFEST_RECEIVED,
    FSM_ALGORITHM_RECEIVED,
    FSM_DATA_RECEIVED,
    FSM_RUN_COMPLETE,
    FSM_RESULTS_CONSUMED,
    FSM_RUN_FAILED,
    FSM_STOP,
};
#define FSM_EVENTS 8

enum fsm_action {
    FSM_DO_LISTEN = 1 << 0,   /* users may call                                         */
    FSM_DO_TELL = 1 << 1,     /* the event tell/tell_status of struct fsm_step          */
    FSM_DO_RUN = 1 << 2,      /* run the algorithm; tells Running itself as it goes     */
    FSM_DO_STOP_RUN = 1 << 3, /* kill what runs; what it still says no longer counts    */
    FSM_DO_CLEAN = 1 << 4,    /* remove inputs, results and everything made of them     */
    FSM_DO_UNLISTEN = 1 << 5, /* end the calls of users and stop listening              */
    FSM_DO_FORGET = 1 << 6,   /* the computation is over: no crash report is due for it */
};

struct fsm_step {
    bool valid;
    enum fsm_state to;
    unsigned actions; /* enum fsm_action, to be done in the order of their bits    */
    const char *tell;
    const char *tell_status;
};

/* has_datasets: whether the manifest names datasets, which decides what follows the algorithm. */
struct fsm_step fsm_step(enum fsm_state from, enum fsm_event event, bool has_datasets);

/* "ReceivingManifest"; "AgentState(9)" is never returned: out of range is "Unknown". */
const char *fsm_state_name(enum fsm_state state);
const char *fsm_event_name(enum fsm_event event);

enum fsm_rpc { FSM_RPC_ALGO, FSM_RPC_DATA, FSM_RPC_RESULT };

/*
 * Whether a call may go on in this state; asked before the first message is
 * read. False sets code and text. FSM_RPC_RESULT in FSM_FAILED answers with
 * the reason the run failed for: the text is then NULL and the caller's.
 */
bool fsm_allows(enum fsm_state state, enum fsm_rpc rpc, enum rpc_code *ret_code, const char **ret_text);

#endif
