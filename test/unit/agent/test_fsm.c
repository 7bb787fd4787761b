#include "unit/base/unit.h"

#include "agent/fsm.h"

#define S FSM_STATES /* stands for: not valid, nothing changes */

/* [state][event], without and with datasets; every pair of them all. */
static const unsigned char next[FSM_STATES][FSM_EVENTS] = {
    /*                            Start                   ManifestReceived         AlgorithmReceived DataReceived RunComplete            ResultsConsumed RunFailed  Stop */
    [FSM_IDLE] = { FSM_RECEIVING_MANIFEST, S, S, S, S, S, S, FSM_IDLE },
    [FSM_RECEIVING_MANIFEST] = { S, FSM_RECEIVING_ALGORITHM, S, S, S, S, S, FSM_RECEIVING_MANIFEST },
    [FSM_RECEIVING_ALGORITHM] = { S, S, FSM_RUNNING, S, S, S, FSM_FAILED, FSM_RECEIVING_MANIFEST },
    [FSM_RECEIVING_DATA] = { S, S, S, FSM_RUNNING, S, S, FSM_FAILED, FSM_RECEIVING_MANIFEST },
    [FSM_RUNNING] = { S, S, S, S, FSM_CONSUMING_RESULTS, S, FSM_FAILED, FSM_RECEIVING_MANIFEST },
    [FSM_CONSUMING_RESULTS] = { S, S, S, S, S, FSM_COMPLETE, S, FSM_RECEIVING_MANIFEST },
    [FSM_COMPLETE] = { S, S, S, S, S, S, S, FSM_RECEIVING_MANIFEST },
    [FSM_FAILED] = { S, S, S, S, S, S, S, FSM_RECEIVING_MANIFEST },
};

static void every_event_in_every_state(void **state)
{
    (void)state;
    for (enum fsm_state s = 0; s < FSM_STATES; s++)
        for (enum fsm_event ev = 0; ev < FSM_EVENTS; ev++)
            for (int has_datasets = 0; has_datasets <= 1; has_datasets++) {
                struct fsm_step got = fsm_step(s, ev, has_datasets);
                unsigned want = next[s][ev];

                if (has_datasets && s == FSM_RECEIVING_ALGORITHM && ev == FSM_ALGORITHM_RECEIVED)
                    want = FSM_RECEIVING_DATA;
                if (got.valid != (want != S) || got.to != (want == S ? s : want))
                    fail_msg("%s, %s: went to %s", fsm_state_name(s), fsm_event_name(ev),
                             fsm_state_name(got.to));
                if (!got.valid)
                    assert_int_equal(got.actions, 0);
                assert_int_equal(!!(got.actions & FSM_DO_TELL) && !got.tell, 0);
            }
}

/* ------------------------------------------------------------------ what is told (section 2.8) */

static struct tell_case {
    const char *name;
    enum fsm_state from;
    enum fsm_event event;
    bool has_datasets;
    unsigned actions;
    const char *tell;
    const char *status;
} tell_cases[] = {
    { "manifest_listens_and_tells", FSM_RECEIVING_MANIFEST, FSM_MANIFEST_RECEIVED, true,
      FSM_DO_LISTEN | FSM_DO_TELL, "ReceivingAlgorithm", "InProgress" },
    { "algorithm_with_datasets_tells_data", FSM_RECEIVING_ALGORITHM, FSM_ALGORITHM_RECEIVED, true,
      FSM_DO_TELL, "ReceivingData", "InProgress" },
    { "algorithm_without_datasets_runs", FSM_RECEIVING_ALGORITHM, FSM_ALGORITHM_RECEIVED, false, FSM_DO_RUN,
      NULL, NULL },
    { "data_runs", FSM_RECEIVING_DATA, FSM_DATA_RECEIVED, true, FSM_DO_RUN, NULL, NULL },
    { "run_complete_tells_ready", FSM_RUNNING, FSM_RUN_COMPLETE, true, FSM_DO_TELL, "ConsumingResults",
      "Ready" },
    { "results_consumed_tells_complete", FSM_CONSUMING_RESULTS, FSM_RESULTS_CONSUMED, true,
      FSM_DO_TELL | FSM_DO_FORGET, "Complete", "Completed" },
    { "run_failed_tells_failed_and_cleans", FSM_RUNNING, FSM_RUN_FAILED, true,
      FSM_DO_TELL | FSM_DO_CLEAN | FSM_DO_FORGET, "Failed", "Failed" },
    { "AG-2_stop_waiting_for_manifest_does_nothing", FSM_RECEIVING_MANIFEST, FSM_STOP, false, 0, NULL, NULL },
    { "AG-2_stop_receiving_algorithm", FSM_RECEIVING_ALGORITHM, FSM_STOP, true,
      FSM_DO_TELL | FSM_DO_CLEAN | FSM_DO_UNLISTEN | FSM_DO_FORGET, "Stopped", "Stopped" },
    { "AG-2_stop_receiving_data", FSM_RECEIVING_DATA, FSM_STOP, true,
      FSM_DO_TELL | FSM_DO_CLEAN | FSM_DO_UNLISTEN | FSM_DO_FORGET, "Stopped", "Stopped" },
    { "AG-2_stop_running_kills", FSM_RUNNING, FSM_STOP, true,
      FSM_DO_TELL | FSM_DO_STOP_RUN | FSM_DO_CLEAN | FSM_DO_UNLISTEN | FSM_DO_FORGET, "Stopped", "Stopped" },
    { "AG-2_stop_consuming_results", FSM_CONSUMING_RESULTS, FSM_STOP, true,
      FSM_DO_TELL | FSM_DO_CLEAN | FSM_DO_UNLISTEN | FSM_DO_FORGET, "Stopped", "Stopped" },
    { "AG-2_stop_complete", FSM_COMPLETE, FSM_STOP, true,
      FSM_DO_TELL | FSM_DO_CLEAN | FSM_DO_UNLISTEN | FSM_DO_FORGET, "Stopped", "Stopped" },
    { "AG-2_stop_failed", FSM_FAILED, FSM_STOP, true,
      FSM_DO_TELL | FSM_DO_CLEAN | FSM_DO_UNLISTEN | FSM_DO_FORGET, "Stopped", "Stopped" },
};

static void check_tell(void **state)
{
    const struct tell_case *t = *state;
    struct fsm_step got = fsm_step(t->from, t->event, t->has_datasets);

    assert_true(got.valid);
    assert_int_equal(got.actions, t->actions);
    if (!t->tell) {
        assert_int_equal(got.actions & FSM_DO_TELL, 0);
        return;
    }
    assert_string_equal(got.tell, t->tell);
    assert_string_equal(got.tell_status, t->status);
}

/* ------------------------------------------------------------------ calls (section 4.3) */

#define NOT_NOW "agent not expecting this operation in the current state"
#define NOT_READY "computation results are not yet ready"

static struct rpc_case {
    const char *name;
    enum fsm_state state;
    enum fsm_rpc rpc;
    bool allowed;
    const char *text; /* NULL: the run's own error */
} rpc_cases[] = {
    { "AG-1_algo_in_Idle", FSM_IDLE, FSM_RPC_ALGO, false, NOT_NOW },
    { "AG-1_algo_in_ReceivingManifest", FSM_RECEIVING_MANIFEST, FSM_RPC_ALGO, false, NOT_NOW },
    { "AG-1_algo_in_ReceivingAlgorithm", FSM_RECEIVING_ALGORITHM, FSM_RPC_ALGO, true, NULL },
    { "AG-1_algo_in_ReceivingData", FSM_RECEIVING_DATA, FSM_RPC_ALGO, false, NOT_NOW },
    { "AG-1_algo_in_Running", FSM_RUNNING, FSM_RPC_ALGO, false, NOT_NOW },
    { "AG-1_algo_in_ConsumingResults", FSM_CONSUMING_RESULTS, FSM_RPC_ALGO, false, NOT_NOW },
    { "AG-1_algo_in_Complete", FSM_COMPLETE, FSM_RPC_ALGO, false, NOT_NOW },
    { "AG-1_algo_in_Failed", FSM_FAILED, FSM_RPC_ALGO, false, NOT_NOW },
    { "AG-1_data_in_Idle", FSM_IDLE, FSM_RPC_DATA, false, NOT_NOW },
    { "AG-1_data_in_ReceivingManifest", FSM_RECEIVING_MANIFEST, FSM_RPC_DATA, false, NOT_NOW },
    { "AG-1_data_in_ReceivingAlgorithm", FSM_RECEIVING_ALGORITHM, FSM_RPC_DATA, false, NOT_NOW },
    { "AG-1_data_in_ReceivingData", FSM_RECEIVING_DATA, FSM_RPC_DATA, true, NULL },
    { "AG-1_data_in_Running", FSM_RUNNING, FSM_RPC_DATA, false, NOT_NOW },
    { "AG-1_data_in_ConsumingResults", FSM_CONSUMING_RESULTS, FSM_RPC_DATA, false, NOT_NOW },
    { "AG-1_data_in_Complete", FSM_COMPLETE, FSM_RPC_DATA, false, NOT_NOW },
    { "AG-1_data_in_Failed", FSM_FAILED, FSM_RPC_DATA, false, NOT_NOW },
    { "AG-1_AG-5_result_in_Idle", FSM_IDLE, FSM_RPC_RESULT, false, NOT_READY },
    { "AG-1_AG-5_result_in_ReceivingManifest", FSM_RECEIVING_MANIFEST, FSM_RPC_RESULT, false, NOT_READY },
    { "AG-1_AG-5_result_in_ReceivingAlgorithm", FSM_RECEIVING_ALGORITHM, FSM_RPC_RESULT, false, NOT_READY },
    { "AG-1_AG-5_result_in_ReceivingData", FSM_RECEIVING_DATA, FSM_RPC_RESULT, false, NOT_READY },
    { "AG-1_AG-5_result_in_Running", FSM_RUNNING, FSM_RPC_RESULT, false, NOT_READY },
    { "AG-1_result_in_ConsumingResults", FSM_CONSUMING_RESULTS, FSM_RPC_RESULT, true, NULL },
    { "AG-1_result_in_Complete", FSM_COMPLETE, FSM_RPC_RESULT, true, NULL },
    { "AG-1_D-18_result_in_Failed", FSM_FAILED, FSM_RPC_RESULT, false, NULL },
};

static void check_rpc(void **state)
{
    const struct rpc_case *t = *state;
    enum rpc_code code = RPC_OK;
    const char *text = "untouched";

    assert_int_equal(fsm_allows(t->state, t->rpc, &code, &text), t->allowed);
    assert_int_equal(code, t->allowed ? RPC_OK : RPC_UNKNOWN);
    if (t->allowed)
        assert_string_equal(text, "untouched");
    else if (t->text)
        assert_string_equal(text, t->text);
    else
        assert_null(text);
}

static void names_are_those_of_the_sheet(void **state)
{
    static const char *const names[FSM_STATES] = {
        "Idle",    "ReceivingManifest", "ReceivingAlgorithm", "ReceivingData",
        "Running", "ConsumingResults",  "Complete",           "Failed"
    };

    (void)state;
    for (enum fsm_state s = 0; s < FSM_STATES; s++)
        assert_string_equal(fsm_state_name(s), names[s]);
    assert_string_equal(fsm_state_name((enum fsm_state)99), "Unknown");
    assert_string_equal(fsm_event_name(FSM_RUN_FAILED), "RunFailed");
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(tell_cases) + ARRAY_LEN(rpc_cases) + 2];
    size_t count = 0;

    tests[count++] = (struct CMUnitTest)cmocka_unit_test(every_event_in_every_state);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(names_are_those_of_the_sheet);
    UNIT_ROWS(tests, count, tell_cases, check_tell);
    UNIT_ROWS(tests, count, rpc_cases, check_rpc);
    return _cmocka_run_group_tests("agent/fsm", tests, count, NULL, NULL);
}
