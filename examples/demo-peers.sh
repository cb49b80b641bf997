# shellcheck shell=bash
# The show of examples/demo: four peers, one of which is killed and comes back. Sourced by it.

read -r front alpha beta gamma delta < <(free_ports 5)
declare -A name_of=([$alpha]=alpha [$beta]=beta [$gamma]=gamma [$delta]=delta)

mkdir "$dir/app"
sed -e "s|@MODULE@|$module|; s|@FRONT@|$front|; s|@ALPHA@|$alpha|; s|@BETA@|$beta|" \
    -e "s|@GAMMA@|$gamma|; s|@DELTA@|$delta|" "$root/examples/demo.conf.in" >"$dir/app/nginx.conf"
program delta "$delta" 'location / { return 200 delta; } location = /health { return 200 alive; }'

start_delta() {
    start delta
    delta_pid=$!
    await get "$delta" /health
}

# request: one to the upstream, counted by the peer that answered.
request() {
    get "$front" / || true
    sent=$((sent + 1))
    if [ "$code" = 200 ]; then
        answers[$body]=$((${answers[$body]-0} + 1))
    else
        failed=$((failed + 1))
    fi
}

count_from_zero() {
    sent=0 failed=0
    declare -gA answers=()
}

send_40() {
    local peer line=
    count_from_zero
    while [ $sent -lt 40 ]; do request; done
    for peer in alpha beta gamma delta; do
        line+=" $peer ${answers[$peer]-0},"
    done
    echo "40 requests:$line failed $failed"
}

# peers_with FIELD COUNT: does the page show so many peers with this field?
peers_with() {
    get "$front" '/status?format=json' && [ "$(grep -o "$1" <<<"$body" | wc -l)" = "$2" ]
}

# The status page as a table; the peers' names are the demo's own.
show_page() {
    local port names=
    for port in "${!name_of[@]}"; do names+="$port=${name_of[$port]} "; done
    get "$front" '/status?format=json'
    tr '{' '\n' <<<"$body" | awk -v names="$names" '
        function field(key) {
            if (!match($0, "\"" key "\":(\"[^\"]*\"|[^,}]*)")) return "-"
            value = substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3)
            gsub(/"/, "", value)
            return value == "null" ? "-" : value
        }
        BEGIN {
            last = split(names, pairs, /[= ]/)
            for (i = 1; i < last; i += 2) name[pairs[i]] = pairs[i + 1]
            format = "  %-6s %-16s %-5s %7s %7s %8s  %s\n"
            printf format, "peer", "server", "state", "probes", "failed", "latency", "last probe"
        }
        /"index":/ {
            server = field("server")
            port = server
            sub(/.*:/, "", port)
            printf format, name[port], server, field("down") == "true" ? "DOWN" : "up",
                field("probes"), field("failures"), field("latency_ms") " ms", field("status")
        }'
}

# wait_for_page FIELD COUNT: keeps sending until the page shows it, then sets `waited`.
wait_for_page() {
    local began limit
    began=$(now_ms)
    limit=$((SECONDS + 10))
    count_from_zero
    until peers_with "$@"; do
        [ $SECONDS -lt $limit ] || die "waited in vain for the page to show $1 $2 times: $body"
        request
        sleep 0.02
    done
    waited="$(($(now_ms) - began)) ms"
}

start_delta
start app
await peers_with '"code":"ok"' 4
step "1. nginx $(binary_version "$nginx") runs with four peers, each probed every 500 ms:"
show_page
send_40

{ kill -9 "$delta_pid"; wait "$delta_pid" || true; } 2>/dev/null
unset "pids[$delta_pid]"
wait_for_page '"down":true' 1
step "2. delta was killed. Two failed probes took it out after $waited; of the $sent requests sent" \
    "meanwhile"
echo "   $failed failed (nginx's own retry is off here, or nobody would have noticed). Since then:"
show_page
send_40

start_delta
wait_for_page '"down":true' 0
step "3. delta was started again, and was back after $waited, with $failed of $sent requests failed:"
show_page
send_40
