"""The two shell programs in a sandbox: one that stays and starts shells, and the shell that runs commands.

Both talk over descriptor 3, which commands do not get: they can print whatever they like and forge nothing.
Lines to the sandbox: ``start``, then a call's number. Lines from it: ``ready``, ``shell <pid>``, ``done <number>
<exit code>``, ``exit <code>``, and before each command the pids of the shell's background jobs.
"""

from typing import Final

# $0: folder of commands and pipes. Commands may hold break and continue, which reach this loop: the pending answer is
# therefore given at its head. No function around eval: declare inside one would make variables local to it.
SHELL: Final = r"""
builtin printf 'shell %d\n' $$ >&3
while :; do
  while {
    if [ -n "$__efferent_call" ]; then
      builtin printf 'done %s %d\n' "$__efferent_call" "$__efferent_status" >&3
      __efferent_call=
    fi
    IFS= builtin read -r -u 3 __efferent_call || builtin exit 0
  }; do
    __efferent_status=0
    builtin jobs -p >&3
    IFS= builtin read -r -d '' __efferent_command <"$0/$__efferent_call.cmd"
    builtin eval "$__efferent_command" </dev/null >"$0/$__efferent_call.out" 2>&1 3>&-
    __efferent_status=$?
  done
done
"""

# $0: that folder, $1: the shell's program, $2: processes allowed (0: another mechanism limits them).
KEEPER: Final = r"""
exec 2>/dev/null 4>&- 5>&-
[ "$2" = 0 ] || ulimit -u "$2"
printf 'ready\n' >&3
while IFS= read -r -u 3 _; do
  /bin/bash --noprofile --norc -c "$1" "$0"
  printf 'exit %d\n' $? >&3
done
"""
