#!/bin/sh
# `make encode` and `make decode`: plan, let make do it, say how it went.
#
#   mk/folder.sh encode|decode PYTHON MAKE      (what is asked for is in the environment: mk/plan.py)
#
# Exits with make's code, or 2 where sources were left out.
command=$1 python=$2 make=$3
mkdir -p build && work=$(mktemp -d "build/$command.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

"$python" mk/plan.py "$command" "$work" || exit 2
"$make" -k --no-print-directory -f mk/folder.mk COMMAND="$command" WORK="$work"
code=$?

count() { if [ -f "$work/$1" ]; then wc -l < "$work/$1"; else echo 0; fi; }
made=$(($(count made))) failed=$(($(count failed))) left=$(($(count left)))
if [ "$left" -gt 0 ] && [ "$code" -eq 0 ]; then code=2; fi
case ${MAKEFLAGS%% *} in *n*) exit "$code" ;; esac # make -n: nothing was done
rest=$(($(grep -c '^OUTPUTS +=' "$work/plan.mk") - made - failed))
what='up to date'
if [ "$code" -ge 128 ]; then what='up to date or not reached'; fi
echo "make $command: $made made, $rest $what, $failed failed, $left left out" >&2
if [ -f "$work/failed" ]; then sort "$work/failed" | sed "s/^/make $command: failed: /" >&2; fi
exit "$code"
