"""How sanitizers report: into files of their own, whatever becomes of a program's output."""

import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXIT = 99


def environment(folder):
    """Variables under which each report is a file sanitizer.* in the folder, and the exit code EXIT."""
    log = f"log_path={folder}/sanitizer:exitcode={EXIT}"
    return {
        "ASAN_OPTIONS": f"{log}:detect_leaks=1:abort_on_error=0:handle_segv=2:handle_abort=0"
                        ":detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1",
        "LSAN_OPTIONS": f"report_objects=1:suppressions={ROOT}/test/lib/lsan.supp",
        "UBSAN_OPTIONS": f"{log}:print_stacktrace=1:halt_on_error=1",
        "TSAN_OPTIONS": f"{log}:second_deadlock_stack=1:handle_segv=2:suppressions={ROOT}/test/lib/tsan.supp",
    }


def reports(folder):
    """(name, text) of what they wrote there."""
    for name in sorted(os.listdir(folder)):
        if name.startswith("sanitizer."):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                yield name, f.read()
