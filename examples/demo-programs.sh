# shellcheck shell=bash
# The show of examples/demo --supervisord: programs that run only while they are needed. Sourced by
# it.

need python3
supervisord=$(debian_supervisord) ||
    die "supervisor is not installed, and apt-get download supervisor does not bring it"

read -r front port app0 app1 load0 load1 < <(free_ports 6)
password=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
mkdir "$dir/nginx" "$dir/supervisord"
# Both will have the password.
touch "$dir/nginx/nginx.conf" "$dir/supervisord/supervisord.conf"
chmod 600 "$dir/nginx/nginx.conf" "$dir/supervisord/supervisord.conf"
sed -e "s|@MODULE@|$module|; s|@FRONT@|$front|; s|@SUPERVISORD@|$port|; s|@PASSWORD@|$password|" \
    -e "s|@APP0@|$app0|; s|@APP1@|$app1|; s|@LOAD0@|$load0|; s|@LOAD1@|$load1|" \
    "$root/examples/demo-programs.conf.in" >"$dir/nginx/nginx.conf"

# ---- supervisord ----

# A port and a password: nginx's workers, which run as another user, could not connect to a socket
# without more ado.
cat >"$dir/supervisord/supervisord.conf" <<CONF
[supervisord]
nodaemon=true
directory=$dir/supervisord
logfile=$dir/supervisord/error.log
pidfile=$dir/supervisord/pid
[inet_http_server]
port=127.0.0.1:$port
username=demo
password=$password
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
CONF
# supervised NAME PORT: a program that supervisord starts when it is told to, and not again when it
# dies. /slow takes about three seconds.
supervised() {
    local slow
    slow=$(printf '%0600d' 0)
    program "$1" "$2" "location / { return 200 \"$1 \$pid\"; }
        location = /slow { limit_rate 150; return 200 \"$slow\"; }"
    cat >>"$dir/supervisord/supervisord.conf" <<CONF
[program:$1]
command=$nginx -p $dir/$1 -c nginx.conf -e error.log -g "daemon off;"
stdout_logfile=NONE
stderr_logfile=$dir/$1/output
autostart=false
autorestart=false
startsecs=1
CONF
}
supervised app0 "$app0"
supervised app1 "$app1"
supervised load0 "$load0"
supervised load1 "$load1"

# How often supervisord has started a program.
starts_of() { grep -c "spawned: '$1'" "$dir/supervisord/error.log" || true; }

# ---- the status page ----

# The page's programs, one a line: name, state, what supervisord reports, its process, requests.
programs() {
    get "$front" '/status?format=json'
    tr '{' '\n' <<<"$body" | awk '
        function field(key) {
            if (!match($0, "\"" key "\":(\"[^\"]*\"|[^,}]*)")) return "-"
            value = substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3)
            gsub(/"/, "", value)
            return value == "null" ? "-" : value
        }
        /"reported_state":/ {
            print field("name"), field("state"), field("reported_state"), field("reported_pid"),
                field("running")
        }'
}

show_programs() {
    local name state reported pid running format='  %-8s %-9s %-16s %-8s %s\n'
    # shellcheck disable=SC2059
    printf "$format" program state "supervisord says" process serving
    while read -r name state reported pid running; do
        # shellcheck disable=SC2059
        printf "$format" "$name" "$state" "$reported" "$pid" "$running"
    done < <(programs)
}

# program_is NAME STATE [REPORTED]: does the page say so? Sets `pid` and `running`.
program_is() {
    local name state reported
    while read -r name state reported pid running; do
        [ "$name" = "$1" ] || continue
        [ "$state" = "$2" ] && { [ -z "${3-}" ] || [ "$reported" = "$3" ]; }
        return
    done < <(programs)
    return 1
}

held_is() {
    get "$front" '/status?format=json' && grep -q "\"name\":\"app\",\"held\":$1," <<<"$body"
}

# ---- requests ----

# ask PATH: a request to the application or to a page, which must succeed; sets `body` and `took`.
ask() {
    local began
    began=$(now_ms)
    get "$front" "$1" 'Accept: application/json' || true
    [ "$code" = 200 ] || die "$1 was answered with status $code; $(tail -n 3 "$dir/nginx/error.log")"
    took=$(($(now_ms) - began))
}

# spread COUNT: so many requests, counted by the program that answers.
spread() {
    local count
    declare -gA answers=()
    for ((count = 0; count < $1; count++)); do
        ask /app/
        body=${body% *}
        answers[$body]=$((${answers[$body]-0} + 1))
    done
    echo "   $1 requests: app0 ${answers[app0]-0}, app1 ${answers[app1]-0}"
}

# expect CONDITION...: what the demo says next must be true.
expect() { [ "$@" ] || die "this was expected: $*"; }

# ---- the show ----

start_supervisord() {
    "$supervisord" -c "$dir/supervisord/supervisord.conf" </dev/null \
        >"$dir/supervisord/output" 2>&1 &
    pids[$!]=supervisord
}

start_supervisord
await get "$port" /
start nginx
for name in app0 app1 load0 load1; do await program_is $name down STOPPED; done
step "1. nginx $(binary_version "$nginx") and supervisord $("$supervisord" --version) run, and no program:"
show_programs

{ ask /app/; echo "$body, after $took ms" >"$dir/first"; } &
first=$!
await held_is 1
await program_is app0 starting
step "2. A request comes. It is held, and the first program is being started:"
show_programs
wait $first || die "the first request failed"
expect "$(cat "$dir/first")" != ""
await program_is app0 up RUNNING
ask /app/
expect "${body% *}" = app0
echo "   It was answered by $(sed 's/ \([0-9]*\),/ (process \1)/' "$dir/first"): supervisord calls a"
echo "   program running when it has been up for a second (startsecs). The next one took $took ms:"
show_programs

ask /stop/0
await program_is app0 down STOPPED
before=$(starts_of app0)
clients=()
for ((count = 0; count < 20; count++)); do
    ask /app/ &
    clients+=($!)
done
for client in "${clients[@]}"; do wait "$client" || die "one of 20 requests failed"; done
expect $(($(starts_of app0) - before)) = 1
expect "$(starts_of app1)" = 0
step "3. app0 was stopped (GET /stop/0). Then 20 requests came at once, to an nginx with two workers:" \
    "all"
echo "   were answered with status 200, and supervisord started app0 once."

ask /start/1
step "4. GET /start/1 says:"
echo "   ${body%$'\n'}"
await program_is app1 up RUNNING
spread 20
expect "${answers[app0]-0}" -gt 0
expect "${answers[app1]-0}" -gt 0

{ ask /app/slow; echo "${#body} $took" >"$dir/slow"; } &
slow=$!
busy=
await_busy() {
    for busy in app0 app1; do
        ! { program_is $busy up && [ "$running" = 1 ]; } || return 0
    done
    return 1
}
await await_busy
ask "/stop/${busy#app}"
step "5. $busy serves a long request, and is stopped meanwhile:"
program_is "$busy" stopping || die "$busy is not stopping"
show_programs
spread 20
expect "${answers[$busy]-0}" = 0
kill -0 $slow 2>/dev/null || die "the long request ended too early"
wait $slow || die "the long request failed"
read -r bytes ms <"$dir/slow"
expect "$bytes" = 600
await program_is "$busy" down STOPPED
echo "   The long request got all of its $bytes bytes, after $ms ms; then supervisord stopped $busy."

other=app$((1 - ${busy#app}))
program_is $other up RUNNING || die "$other is not up"
expect "$pid" -gt 1
victim=$pid
kill -9 "$victim"
await program_is $other down EXITED
step "6. $other (process $victim) was killed. supervisord is not to start it again of its own accord" \
    "(autorestart);"
echo "   now nothing runs:"
show_programs
ask /app/
echo "   The next request was answered by ${body/ / (process }), after $took ms."
expect "${body#* }" != "$victim"

step "7. Another upstream has more programs the more requests it gets: one more above 10 a second."
ask /load/
program_is load0 up || die "load0 is not up"
! program_is load1 up || die "load1 is up"
limit=$((SECONDS + 20))
sent=0
until program_is load1 up; do
    [ $SECONDS -lt $limit ] || die "load1 was not started; $(tail -n 3 "$dir/nginx/error.log")"
    for ((count = 0; count < 10; count++)); do ask /load/; done
    sent=$((sent + count))
done
echo "   After $sent requests in a row:"
show_programs
await program_is load1 down STOPPED
await program_is load0 down STOPPED
echo "   A few seconds without any:"
show_programs
grep -o 'supervisord: program "load.*' "$dir/nginx/error.log" | sed 's/^/   /'

! grep -E '\[(error|crit|alert|emerg)\]' "$dir/nginx/error.log" || die "nginx logged these errors"
# shellcheck disable=SC2034
hint="Start and stop programs with http://127.0.0.1:$front/start/any and http://127.0.0.1:$front/stop/0"
