#!/bin/sh
# A compiler launcher: fails where ptxas says that a kernel is right, but a fraction as fast as it
# was written to be: that it had to serialise products of warpgroups or to add waits of its own
# (C7510 to C7520), or that values lie in local memory.
report=$("$@" 2>&1)
status=$?
test -z "$report" || printf '%s\n' "$report" >&2
case "$report" in
  *"(C751"* | *"(C752"* | *"Local memory used"* | *"spilled to local memory"*) exit 1 ;;
esac
exit $status
