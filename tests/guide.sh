#!/usr/bin/env bash
# Follows a guide for mutual TLS at a gateway, as its reader would: openssl makes the certificates, curl is
# the client, and the gateway runs under twistd.  Prints one line for each step, "ok" or "not ok", and ends
# with status 0 if all were ok.  Each request is made over HTTP/1.1 and over HTTP/2, and both have to end alike.
#
#   tests/guide.sh DIR
#
# DIR is an empty directory to work in.  The environment may name:
#   PORT_8443, PORT_8444, PORT_ADMIN   free ports for the guide's 8443 and 8444 and for metrics
#   PYTHON                             the interpreter in whose environment edgegw is installed
#   VERSIONS                           the versions of HTTP, "1.1 2"
#
# Everything between "guide:" and "end of guide" is the guide's own text.
set -u

PORT_8443=${PORT_8443:-8443}
PORT_8444=${PORT_8444:-8444}
PORT_ADMIN=${PORT_ADMIN:-9901}
PYTHON=${PYTHON:-python3}
VERSIONS=${VERSIONS:-1.1 2}
each=$(wc -w <<< "$VERSIONS")
cd "$1" || exit 2

steps=0
failed=0
gateway=
upstream=

end() {
    for process in $gateway $upstream; do
        kill -KILL "$process" 2>/dev/null && wait "$process" 2>/dev/null
    done
}
trap end EXIT

# ok STATUS WHAT [TEXT]: reports a step; TEXT is shown when it went wrong.
ok() {
    steps=$((steps + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $steps - $2"
    else
        failed=$((failed + 1))
        echo "not ok $steps - $2"
        printf '%s\n' "${3:-}" | sed 's/^/#   /'
    fi
}

give_up() {
    echo "Bail out! $1"
    for log in gateway.log upstream.log; do
        [ ! -f "$log" ] || { echo "# $log:"; tail -n 50 "$log" | sed 's/^/#   /'; }
    done
    exit 1
}

# until_true WHAT COMMAND...: repeats a command until it succeeds.
until_true() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || give_up "waited in vain for $what"
        sleep 0.1
    done
}

# get PORT [CURL OPTION...]: the guide's curl, once for each version of HTTP; leaves of HTTP/2, curl's own choice,
# status line and headers in $head, the body in $body, what curl says in $said and its exit status in $status.
# $differs is empty if HTTP/1.1 has come to the same, but for its version and the id of the request.
get() {
    ask "$1" --resolve "example.com:$1:127.0.0.1" -H "Host: example.com" "https://localhost:$1/get" "${@:2}"
}

# get_by_name PORT [CURL OPTION...]: the same in the guide's other spelling, with the name in the URL.
get_by_name() {
    ask "$1" --resolve "example.com:$1:127.0.0.1" "https://example.com:$1/get" "${@:2}"
}

ask() {
    local version first
    shift
    differs=
    first=
    for version in $VERSIONS; do
        : > head; : > body
        curl -v -k --ipv4 --max-time 20 --dump-header head --output body "--http$version" "$@" 2> said
        status=$?
        head=$(tr -d '\r' < head); body=$(cat body); said=$(cat said)
        [ "$status" -ne 0 ] || spoken "$version" || differs="asked for HTTP/$version, which was not what was spoken"
        first=${first:-$(outcome)}
    done
    [ "$first" = "$(outcome)" ] || differs="over HTTP/1.1 it was: $first"
    [ -z "$differs" ] || said="$said"$'\n'"$differs"
}

# spoken VERSION: whether ALPN chose it, and the answer came in it.
spoken() {
    local protocol=http/1.1
    [ "$1" = 1.1 ] || protocol=h2
    grep -q "ALPN.* accepted .*$protocol\$" <<< "$said" && case $head in "HTTP/$1 "*) true ;; *) false ;; esac
}

# outcome: what of the last answer is the same in all versions.
outcome() {
    echo "$status"
    sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p' <<< "$head"
    sed 's/"[0-9a-f]\{32\}"/an id/' <<< "$body"
    grep -io 'alert [a-z ]*' <<< "$said"
}

answered_200() {
    [ -z "$differs" ] && [ "$status" -eq 0 ] && case $head in "HTTP/2 200"*) true ;; *) false ;; esac
}

# refused ALERT: no HTTP at all, and curl names the alert.
refused() {
    [ -z "$differs" ] && [ "$status" -ne 0 ] && [ -z "$head" ] && grep -qi "alert $1" <<< "$said"
}

valid="--cert client-cert.pem --key client-key.pem --cacert ca-cert.pem"
stranger="--cert stranger-cert.pem --key stranger-key.pem"

# guide: create TLS certificates
# Create CA private key
openssl genrsa -out ca-key.pem 2048

# Create CA certificate (valid for 1 year)
openssl req -new -x509 -days 365 -key ca-key.pem -out ca-cert.pem \
  -subj "/CN=Test CA/O=Test Org"

# Create server private key
openssl genrsa -out server-key.pem 2048

# Create server certificate signing request
openssl req -new -key server-key.pem -out server.csr \
  -subj "/CN=example.com/O=Test Org"

# Create server certificate signed by CA (valid for 1 year)
openssl x509 -req -days 365 -in server.csr -CA ca-cert.pem -CAkey ca-key.pem \
  -CAcreateserial -out server-cert.pem \
  -extensions v3_req -extfile <(echo "[v3_req]"; echo "subjectAltName=DNS:example.com,DNS:*.example.com")

# Create client private key
openssl genrsa -out client-key.pem 2048

# Create client certificate signing request
openssl req -new -key client-key.pem -out client.csr \
  -subj "/CN=client.example.com/O=Test Org"

# Create client certificate signed by CA (valid for 1 year)
openssl x509 -req -days 365 -in client.csr -CA ca-cert.pem -CAkey ca-key.pem \
  -CAcreateserial -out client-cert.pem \
  -extensions v3_req -extfile <(echo "[v3_req]"; echo "subjectAltName=DNS:example.com,DNS:*.example.com")
# end of guide
ok $? "openssl makes the guide's certificates"

openssl req -new -x509 -newkey rsa:2048 -nodes -days 365 -keyout stranger-key.pem -out stranger-cert.pem \
    -subj "/CN=client.example.com/O=Test Org" -addext "subjectAltName=DNS:example.com"
ok $? "and one of a stranger with the client's names"

# The guide's httpbin.
"$PYTHON" -m edgegw.demo.upstream > upstream.log 2>&1 &
upstream=$!
until_true "the upstream's port" grep -qE '^[0-9]+$' upstream.log
upstream_port=$(head -n 1 upstream.log)

# configure [PER PORT VALIDATION [MORE OF LISTENER https-8443]]: the guide's Gateway and HTTPRoute.
configure() {
    cat > edgegw.yaml.new <<CONFIG
admin: {address: 127.0.0.1, port: $PORT_ADMIN}
client_validation:
  default: {mode: AllowValidOnly, ca_certificates: [ca-cert.pem]}
${1:-}
listeners:
  - name: https-8443
    port: $PORT_8443
    protocol: HTTPS
    tls: {certificates: [{certificate: server-cert.pem, private_key: server-key.pem}]}
${2:-}
  - name: https-8444
    port: $PORT_8444
    protocol: HTTPS
    tls: {certificates: [{certificate: server-cert.pem, private_key: server-key.pem}]}
routes:
  - name: httpbin-https
    hostnames: [example.com]
    rules: [{backends: [{upstream: httpbin}]}]
upstreams:
  - {name: httpbin, endpoints: ["127.0.0.1:$upstream_port"]}
CONFIG
    mv edgegw.yaml.new edgegw.yaml
}

configure
said=$("$PYTHON" -m edgegw check edgegw.yaml 2>&1)
ok $? "edgegw check finds no fault" "$said"

"$PYTHON" -c "from twisted.scripts.twistd import run; run()" -n --pidfile= edgegw --config edgegw.yaml \
    > gateway.log 2>&1 &
gateway=$!
ready() { kill -0 "$gateway" && curl -sf "http://127.0.0.1:$PORT_ADMIN/readyz"; }
running() { kill -0 "$gateway" 2>/dev/null || give_up "the gateway ended"; }
until_true "the gateway" ready

for port in "$PORT_8443" "$PORT_8444"; do
    get "$port"
    refused "certificate required"; ok $? "AllowValidOnly: no certificate fails on $port" "$said"
    get "$port" $valid
    answered_200; ok $? "AllowValidOnly: a valid certificate is 200 on $port" "$said"
    get "$port" $stranger
    refused "unknown ca"; ok $? "AllowValidOnly: a stranger's certificate fails on $port" "$said"
    get_by_name "$port"
    refused "certificate required"; ok $? "AllowValidOnly: no certificate fails on $port by its name" "$said"
    get_by_name "$port" $valid
    answered_200; ok $? "AllowValidOnly: a valid certificate is 200 on $port by its name" "$said"
done

# Spoofed in every spelling that an upstream might take for the header; what arrives must be the certificate's.
hash=$(openssl x509 -in client-cert.pem -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
spoof=(-H "x-forwarded-client-cert: Hash=00;URI=spiffe://example.com/admin"
       -H "X-Forwarded-Client-Cert: Subject=\"CN=admin\""
       -H "X_Forwarded_Client_Cert: Hash=00")
get "$PORT_8443" $valid "${spoof[@]}"
answered_200 && ! grep -qiE 'admin|Hash=00' <<< "$body"
ok $? "a spoofed x-forwarded-client-cert never reaches the upstream" "$body"
[ "$(grep -ci 'forwarded.client.cert' <<< "$body")" -eq 1 ] && grep -q "Hash=$hash;" <<< "$body" &&
    grep -qF 'DNS=example.com;DNS=*.example.com' <<< "$body" && grep -qF 'CN=client.example.com' <<< "$body"
ok $? "the real one does: hash, subject and names of the client's certificate" "$body"

configure "  per_port: [{port: $PORT_8444, validation: {mode: AllowInsecureFallback, ca_certificates: [ca-cert.pem]}}]"
kill -HUP "$gateway"
fell_back() { get "$PORT_8444" && answered_200; }
until_true "the new configuration after SIGHUP" fell_back
running

# metric NAME LABEL=VALUE...: the sum of the samples of a counter that have all of these labels.
metric() {
    local name=$1 labels samples
    shift
    samples=$(curl -sf "http://127.0.0.1:$PORT_ADMIN/metrics" | grep "^$name{")
    for labels in "$@"; do
        samples=$(grep -F "$labels" <<< "$samples")
    done
    awk '{ sum += $NF } END { print sum + 0 }' <<< "$samples"
}
before_success=$(metric edgegw_tls_handshakes_total 'listener="https-8444"' 'result="success"')
before_refused=$(metric edgegw_tls_handshakes_total 'listener="https-8443"' 'reason="no_certificate"')

get "$PORT_8443"
refused "certificate required"; ok $? "8444 on AllowInsecureFallback: no certificate still fails on 8443" "$said"
get "$PORT_8444"
answered_200; ok $? "8444 on AllowInsecureFallback: no certificate is 200 on 8444" "$said"
[ "$(grep -ci 'forwarded.client.cert' <<< "$body")" -eq 0 ]; ok $? "and the upstream is told of no identity" "$body"
get "$PORT_8444" "${spoof[@]}"
answered_200 && ! grep -qiE 'forwarded.client.cert|admin' <<< "$body"
ok $? "not even of one that the client claims" "$body"
get "$PORT_8444" $stranger
answered_200 && ! grep -qF 'CN=client.example.com' <<< "$body"
ok $? "a stranger is 200 on 8444, and not passed off as the client" "$body"
get "$PORT_8443" $stranger
refused "unknown ca"; ok $? "a stranger still fails on 8443" "$said"
for port in "$PORT_8443" "$PORT_8444"; do
    get "$port" $valid
    answered_200 && grep -q "Hash=$hash;" <<< "$body"; ok $? "a valid certificate is 200 on both, here $port" "$said"
done

after=$(metric edgegw_tls_handshakes_total 'listener="https-8444"' 'result="success"')
[ $((after - before_success)) -eq $((4 * each)) ]
ok $? "/metrics counts the four that came in on 8444, in each version" "$before_success before, $after after"
after=$(metric edgegw_tls_handshakes_total 'listener="https-8443"' 'reason="no_certificate"')
[ $((after - before_refused)) -eq "$each" ]
ok $? "/metrics counts the one without a certificate on 8443, in each version" "$before_refused before, $after after"
after=$(metric edgegw_tls_handshakes_total 'listener="https-8443"' 'reason="unknown_ca"')
[ "$after" -eq $((2 * each)) ]; ok $? "/metrics counts both strangers on 8443, in each version" "$after"

# guide: additional TLS settings
fingerprint=$(openssl x509 -in client-cert.pem -noout -fingerprint -sha256)
# end of guide
pin=${fingerprint#*=}
[ "$(tr -d ':' <<< "$pin" | tr 'A-F' 'a-f')" = "$hash" ]
ok $? "openssl prints the certificate's hash" "$fingerprint"

# limit NAME HASH: lets only clients with a name and a hash in on 8443, from SIGHUP on.
limit() {
    local before
    before=$(metric edgegw_config_reloads_total 'result="success"')
    configure "" "    policies:
      - subject_alt_names: {dns: [{exact: $1}]}
      - certificate_hash: {hashes: [\"$2\"]}"
    kill -HUP "$gateway"
    until_true "the configuration with $1 and $2" reloaded_since "$before"
    running
}
reloaded_since() { [ "$(metric edgegw_config_reloads_total 'result="success"')" -gt "$1" ]; }

for spelling in "$pin" "$hash"; do
    limit example.com "$spelling"
    get "$PORT_8443" $valid
    answered_200; ok $? "the right name and the hash as $spelling are 200" "$said"
done
get "$PORT_8443"
refused "certificate required"; ok $? "no certificate fails beside a name and a hash" "$said"
get "$PORT_8443" $stranger
refused "unknown ca"; ok $? "and so does a stranger with the right name" "$said"
get "$PORT_8444" $valid
answered_200; ok $? "8444 has no such limit" "$said"

limit mtls.com "$pin"
get "$PORT_8443" $valid
refused "certificate unknown"; ok $? "with the name mtls.com the same client fails" "$said"
said=$("$PYTHON" -m edgegw explain --config edgegw.yaml --listener https-8443 --cert client-cert.pem 2>&1)
status=$?
[ "$status" -eq 3 ] && grep -q 'subject_alt_name' <<< "$said" && grep -qF 'mtls.com' <<< "$said"
ok $? "edgegw explain says why, with the certificate alone" "$said"
said=$("$PYTHON" -m edgegw handshakes --config edgegw.yaml --refused --listener https-8443 2>&1)
tail -n 1 <<< "$said" | grep -F ' example.com ' | grep -q 'refused subject_alt_name$'
ok $? "edgegw handshakes --refused shows it with its reason" "$said"
grep -F 'on https-8443: subject_alt_name ' gateway.log | grep -qF 'wanted is DNS exact mtls.com'
ok $? "the log has the reason and what was wanted" "$(tail -n 5 gateway.log)"

wrong=$(openssl x509 -in stranger-cert.pem -noout -fingerprint -sha256)
limit example.com "${wrong#*=}"
get "$PORT_8443" $valid
refused "bad certificate"; ok $? "with another certificate's hash it fails" "$said"
for reason in subject_alt_name certificate_hash; do
    after=$(metric edgegw_tls_handshakes_total 'listener="https-8443"' "reason=\"$reason\"")
    [ "$after" -eq "$each" ]; ok $? "/metrics counts one refusal for $reason, in each version" "$after"
done

running
kill -TERM "$gateway"
wait "$gateway"
status=$?
gateway=
ok "$status" "SIGTERM ends the gateway with status 0" "status $status"
! grep -qE 'Traceback|Unhandled' gateway.log
ok $? "and its log is clean" "$(cat gateway.log)"

echo "1..$steps"
exit $((failed > 0))
