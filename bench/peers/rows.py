"""What the scripts beside this file share: reading and making rows of a results file."""

import json
import statistics


def summary(times, flop):
    ordered = sorted(times)
    at = lambda share: ordered[round(share * (len(ordered) - 1))]
    median = statistics.median(times)
    return {"repeats": len(times), "ms_median": median, "ms_p10": at(0.1), "ms_p90": at(0.9),
            "gflops": flop / median / 1e6}


def distinct_cases(path, op, fields, device):
    """What Strobe has timed on `device`, "cpu" or "cuda"; fields that a row lacks are left out."""
    cases = []
    with open(path) as file:
        for line in file:
            row = json.loads(line)
            is_ours = row.get("kind") == "bench" and "peer" not in row
            if is_ours and row["op"] == op and row.get("device", "cpu").startswith(device):
                case = {field: row[field] for field in fields if field in row}
                if case not in cases:
                    cases.append(case)
    return cases
