#!/usr/bin/env bash
# Follows a guide for mutual TLS with the Gateway API, as its reader would, on a machine without Kubernetes: openssl
# makes the certificates, curl is the client, and edgegw runs on a directory of manifests, which a stand-in for kubectl
# writes.  Prints one line for each step, "ok" or "not ok", and ends with status 0 if all were ok.  Each request is made
# over HTTP/1.1 and over HTTP/2, and both have to end alike.
#
#   tests/guide_manifests.sh DIR
#
# DIR is an empty directory to work in.  The environment may name:
#   POOL                   a network of the loopback interface that has an address for the Gateway
#   PORT_8443, PORT_8444   what the guide's ports are to be instead, where they are taken at all addresses
#   PORT_ADMIN             a free port for metrics and status
#   PYTHON                 the interpreter in whose environment edgegw is installed
#
# Everything between "guide:" and "end of guide" is the guide's own text.  Its curl stands behind "try".
set -u

POOL=${POOL:-127.84.43.0/24}
PORT_8443=${PORT_8443:-8443}
PORT_8444=${PORT_8444:-8444}
PORT_ADMIN=${PORT_ADMIN:-9901}
PYTHON=${PYTHON:-python3}
cd "$1" || exit 2
top=$PWD
mkdir manifests

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
    for log in "$top"/*.log; do
        echo "# $log:"
        tail -n 50 "$log" | sed 's/^/#   /'
    done
    exit 1
}

# until_true WHAT COMMAND...: repeats a command until it succeeds.
until_true() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || give_up "waited in vain for $what"
        [ -z "$gateway" ] || kill -0 "$gateway" 2>/dev/null || give_up "the gateway ended"
        sleep 0.3
    done
}

edgegw() { "$PYTHON" -m edgegw "$@"; }

pin=
# The reader's own hash for the guide's, and ports where they have to be others.
for_the_reader() {
    sed "s/46:DB:0D:C2:E1:4F:0A:05:8C:4F:05:8D:77:B1:8D:7C:1A:BE:18:4F:AF:81:BF:E2:B1:CD:03:43:7F:D8:65:4B/$pin/
         s/port: 8443/port: $PORT_8443/; s/port: 8444/port: $PORT_8444/"
}

# kubectl: what the guide does with it, in the directory of manifests.
kubectl() {
    local new=$top/manifests/.new
    case "$1 $2" in
        "apply -f-")
            for_the_reader > "$new"
            mv "$new" "$top/manifests/$(awk '/^kind:/ { kind = tolower($2) } /^  name:/ { print kind "-" $2 }' "$new").yaml" ;;
        "create secret")
            edgegw "${@:2}" > "$new" && mv "$new" "$top/manifests/secret-$4.yaml" ;;
        "create configmap")
            edgegw "${@:2}" > "$new" && mv "$new" "$top/manifests/configmap-$3.yaml" ;;
        "get svc")
            shown | sed -n 's/.*"addresses": \[{"type": "IPAddress", "value": "\([^"]*\)"}\].*/\1/p' ;;
        delete\ *)
            rm "$top/manifests/$2-$3.yaml" ;;
        *)
            give_up "kubectl $*" ;;
    esac
}

shown() { curl -sf --noproxy '*' "http://127.0.0.1:$PORT_ADMIN/gateway-api/status"; }

# in_use GENERATION: whether the Gateway as it was applied last is what runs, with the route.
in_use() {
    case $(shown) in
        *'"name": "mtls", "generation": '"$1,"*'"attachedRoutes": 1'*) true ;;
        *) false ;;
    esac
}

# has OBJECT OF CONDITION STATUS REASON: whether $said, a table of statuses, has such a line.
has() { grep -qE "^Gateway kgateway-system/mtls +$1 +$2 +$3 +$4( |\$)" <<< "$said"; }

# try curl [OPTION...]: the guide's curl, once for each version of HTTP; leaves of HTTP/2, curl's own choice, status
# line and headers in $head, the body in $body, what curl says in $said and its exit status in $status.  $differs is
# empty if HTTP/1.1 has come to the same.
try() {
    local version first arguments=("${@:2}")
    arguments=("${arguments[@]//8443/$PORT_8443}")
    arguments=("${arguments[@]//8444/$PORT_8444}")
    differs=
    for version in 1.1 2; do
        : > "$top/head"; : > "$top/body"
        curl "${arguments[@]}" --noproxy '*' --max-time 20 --dump-header "$top/head" --output "$top/body" \
            "--http$version" 2> "$top/said"
        status=$?
        head=$(< "$top/head"); head=${head//$'\r'/}; body=$(< "$top/body"); said=$(< "$top/said")
        [ "$status" -ne 0 ] || spoken "$version" || differs="asked for HTTP/$version, which was not what was spoken"
        [ "$version" = 1.1 ] && first=$(outcome)
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

# The guide's httpbin, and what a cluster has of a gateway before anybody asks for it.
"$PYTHON" -m edgegw.demo.upstream > upstream.log 2>&1 &
upstream=$!
until_true "the upstream's port" grep -qE '^[0-9]+$' upstream.log
httpbin=httpbin.httpbin=127.0.0.1:$(head -n 1 upstream.log)
cat > manifests/settings.yaml <<EOF
apiVersion: edgegw.io/v1alpha1
kind: Settings
metadata: {name: settings}
spec: {admin: {address: 127.0.0.1, port: $PORT_ADMIN}}
EOF
"$PYTHON" -m edgegw run --config manifests --resolve "$httpbin" --address-pool "$POOL" > gateway.log 2>&1 &
gateway=$!

# guide: create TLS certificates
mkdir example_certs && cd example_certs

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

# Base64 encode server certificate and key
SERVER_CERT=$(cat server-cert.pem | base64 -w 0)
SERVER_KEY=$(cat server-key.pem | base64 -w 0)

# Create the secret
kubectl create secret tls https-cert \
  --cert=server-cert.pem \
  --key=server-key.pem \
  -n kgateway-system
# end of guide
ok $? "the Secret is made"
grep -qF "$SERVER_CERT" ../manifests/secret-https-cert.yaml && grep -qF "$SERVER_KEY" ../manifests/secret-https-cert.yaml
ok $? "and has what the guide encodes" "$(sed 's/tls.key: .*/tls.key: …/' ../manifests/secret-https-cert.yaml)"

# guide:
kubectl create configmap ca-cert \
  --from-file=ca.crt=ca-cert.pem \
  -n kgateway-system
# end of guide
ok $? "the ConfigMap is made"

# guide:
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
    -subj "/CN=client.example.com/O=Test Org" -addext "subjectAltName=DNS:example.com" 2> /dev/null
ok $? "and one of a stranger with the client's names"

# guide: default configuration for all listeners
kubectl apply -f- <<EOF
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: mtls
  namespace: kgateway-system
spec:
  gatewayClassName: kgateway
  tls:
    frontend:
      default:
        validation:
          mode: AllowValidOnly
          caCertificateRefs:
            - name: ca-cert
              kind: ConfigMap
              group: ""
  listeners:
  - name: https-8443
    protocol: HTTPS
    port: 8443
    tls:
      mode: Terminate
      certificateRefs:
        - name: https-cert
          kind: Secret
    allowedRoutes:
      namespaces:
        from: All
  - name: https-8444
    protocol: HTTPS
    port: 8444
    tls:
      mode: Terminate
      certificateRefs:
        - name: https-cert
          kind: Secret
    allowedRoutes:
      namespaces:
        from: All
EOF

kubectl apply -f- <<EOF
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: httpbin-https
  namespace: httpbin
  labels:
    example: httpbin-route
    gateway: https
spec:
  hostnames:
  - "example.com"
  parentRefs:
    - name: mtls
      namespace: kgateway-system
  rules:
    - backendRefs:
        - name: httpbin
          port: 8000
EOF
# end of guide
said=$(edgegw check ../manifests --strict --resolve "$httpbin" --address-pool "$POOL" 2>&1)
ok $? "edgegw check finds nothing in the manifests" "$said"
until_true "the Gateway and its route" in_use 1

# guide:
export INGRESS_GW_ADDRESS=$(kubectl get svc -n kgateway-system mtls -o jsonpath="{.status.loadBalancer.ingress[0]['hostname','ip']}")
echo $INGRESS_GW_ADDRESS
# end of guide
[ -n "$INGRESS_GW_ADDRESS" ]; ok $? "the Gateway has an address" "$(shown)"
said=$(edgegw status --admin "http://127.0.0.1:$PORT_ADMIN" 2>&1)
listeners='listener https-844[34] \(1 routes\)'
has "" Accepted True Accepted && has "" Programmed True Programmed && ! has "" InsecureFrontendValidationMode True '.*'
ok $? "edgegw status: the Gateway is accepted and programmed" "$said"
has "$listeners" Accepted True Accepted && has "$listeners" Programmed True Programmed &&
    has "$listeners" ResolvedRefs True ResolvedRefs && [ "$(grep -cE "mtls +$listeners +Programmed +True" <<< "$said")" -eq 2 ]
ok $? "and so are both listeners, each with the route" "$said"
for condition in Accepted ResolvedRefs; do
    grep -qE "^HTTPRoute httpbin/httpbin-https +Gateway kgateway-system/mtls +$condition +True +$condition" <<< "$said"
    ok $? "and the route is $condition" "$said"
done

# guide: without a client certificate
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get
# end of guide
refused "certificate required"; ok $? "AllowValidOnly: no certificate fails on 8443" "$said"
# guide:
try curl -v -k --resolve "example.com:8444:${INGRESS_GW_ADDRESS}"  https://example.com:8444/get
# end of guide
refused "certificate required"; ok $? "AllowValidOnly: no certificate fails on 8444" "$said"

# guide: with the client certificate
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get \
  --cert client-cert.pem \
  --key client-key.pem \
  --cacert ca-cert.pem
# end of guide
answered_200; ok $? "AllowValidOnly: a valid certificate is 200 on 8443" "$said"
# guide:
try curl -v -k --resolve "example.com:8444:${INGRESS_GW_ADDRESS}"  https://example.com:8444/get \
  --cert client-cert.pem \
  --key client-key.pem \
  --cacert ca-cert.pem
# end of guide
answered_200; ok $? "AllowValidOnly: a valid certificate is 200 on 8444" "$said"
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get \
  --cert stranger-cert.pem --key stranger-key.pem
refused "unknown ca"; ok $? "AllowValidOnly: a stranger's certificate fails" "$said"

# The guide's other spelling, for which kubectl forwards ports of localhost to the Gateway.
forward=(--ipv4 --connect-to "localhost:8443:$INGRESS_GW_ADDRESS:8443" --connect-to "localhost:8444:$INGRESS_GW_ADDRESS:8444")
# guide:
try curl -v -k https://localhost:8443/get "${forward[@]}" \
  --resolve example.com:8443:127.0.0.1 \
  -H "Host: example.com"
# end of guide
refused "certificate required"; ok $? "no certificate fails on a port that is forwarded" "$said"
# guide:
try curl -v -k https://localhost:8444/get "${forward[@]}" \
  --resolve example.com:8444:127.0.0.1 \
  -H "Host: example.com" \
  --cert client-cert.pem \
  --key client-key.pem \
  --cacert ca-cert.pem
# end of guide
answered_200; ok $? "a valid certificate is 200 there" "$said"

# guide: per port configuration
kubectl apply -f- <<EOF
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: mtls
  namespace: kgateway-system
spec:
  gatewayClassName: kgateway
  tls:
    frontend:
      default:
        validation:
          mode: AllowValidOnly
          caCertificateRefs:
            - name: ca-cert
              kind: ConfigMap
              group: ""
      perPort:
        - port: 8444
          tls:
            validation:
              mode: AllowInsecureFallback
              caCertificateRefs:
                - name: ca-cert
                  kind: ConfigMap
                  group: ""
  listeners:
  - name: https-8443
    protocol: HTTPS
    port: 8443
    tls:
      mode: Terminate
      certificateRefs:
        - name: https-cert
          kind: Secret
    allowedRoutes:
      namespaces:
        from: All
  - name: https-8444
    protocol: HTTPS
    port: 8444
    tls:
      mode: Terminate
      certificateRefs:
        - name: https-cert
          kind: Secret
    allowedRoutes:
      namespaces:
        from: All
EOF
# end of guide
until_true "AllowInsecureFallback" in_use 2
said=$(edgegw status --admin "http://127.0.0.1:$PORT_ADMIN" 2>&1)
has "" InsecureFrontendValidationMode True ConfigurationChanged && has "" Programmed True Programmed
ok $? "edgegw status warns of AllowInsecureFallback" "$said"

# guide: without a valid certificate
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get
# end of guide
refused "certificate required"; ok $? "AllowInsecureFallback on 8444: no certificate still fails on 8443" "$said"
# guide:
try curl -v -k --resolve "example.com:8444:${INGRESS_GW_ADDRESS}"  https://example.com:8444/get
# end of guide
answered_200; ok $? "AllowInsecureFallback on 8444: no certificate is 200 on 8444" "$said"
[ "$(grep -ci 'forwarded.client.cert' <<< "$body")" -eq 0 ]; ok $? "and the upstream is told of no identity" "$body"
try curl -v -k --resolve "example.com:8444:${INGRESS_GW_ADDRESS}"  https://example.com:8444/get \
  --cert stranger-cert.pem --key stranger-key.pem
answered_200 && ! grep -qF 'CN=client.example.com' <<< "$body"
ok $? "a stranger is 200 on 8444, and not passed off as the client" "$body"

# guide: with a valid certificate
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get \
  --cert client-cert.pem \
  --key client-key.pem \
  --cacert ca-cert.pem
# end of guide
answered_200; ok $? "a valid certificate is 200 on 8443" "$said"
# guide:
try curl -v -k --resolve "example.com:8444:${INGRESS_GW_ADDRESS}"  https://example.com:8444/get \
  --cert client-cert.pem \
  --key client-key.pem \
  --cacert ca-cert.pem
# end of guide
answered_200; ok $? "a valid certificate is 200 on 8444" "$said"

# guide: additional TLS settings
fingerprint=$(openssl x509 -in client-cert.pem -noout -fingerprint -sha256)
# end of guide
pin=${fingerprint#*=}

# guide:
kubectl apply -f- <<EOF
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: mtls
  namespace: kgateway-system
spec:
  gatewayClassName: kgateway
  tls:
    frontend:
      default:
        validation:
          mode: AllowValidOnly
          caCertificateRefs:
            - name: ca-cert
              kind: ConfigMap
              group: ""
  listeners:
  - name: https-8443
    protocol: HTTPS
    port: 8443
    tls:
      mode: Terminate
      certificateRefs:
        - name: https-cert
          kind: Secret
      options:
        kgateway.dev/verify-subject-alt-names: "example.com"
        kgateway.dev/verify-certificate-hash: "46:DB:0D:C2:E1:4F:0A:05:8C:4F:05:8D:77:B1:8D:7C:1A:BE:18:4F:AF:81:BF:E2:B1:CD:03:43:7F:D8:65:4B"
    allowedRoutes:
      namespaces:
        from: All
EOF
# end of guide
until_true "the name and the hash" in_use 3
said=$(edgegw status --admin "http://127.0.0.1:$PORT_ADMIN" 2>&1)
has "" Programmed True Programmed && has 'listener https-8443 \(1 routes\)' Programmed True Programmed &&
    ! grep -qE 'InsecureFrontendValidationMode|https-8444' <<< "$said"
ok $? "edgegw status: 8443 alone is programmed, and no warning is left" "$said"

# guide:
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get \
  --cert client-cert.pem \
  --key client-key.pem \
  --cacert ca-cert.pem
# end of guide
answered_200; ok $? "the client with the name and the hash is 200" "$said"
grep -qi "Hash=$(tr -d ':' <<< "$pin")" <<< "$body" && grep -qF 'CN=client.example.com' <<< "$body"
ok $? "and the upstream is told of it" "$body"
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get
refused "certificate required"; ok $? "no certificate fails beside a name and a hash" "$said"
try curl -v -k --resolve "example.com:8444:${INGRESS_GW_ADDRESS}"  https://example.com:8444/get
[ "$status" -eq 7 ]; ok $? "nobody listens on 8444 any more" "$said"

# guide:
kubectl apply -f- <<EOF
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: mtls
  namespace: kgateway-system
spec:
  gatewayClassName: kgateway
  tls:
    frontend:
      default:
        validation:
          mode: AllowValidOnly
          caCertificateRefs:
            - name: ca-cert
              kind: ConfigMap
              group: ""
  listeners:
  - name: https-8443
    protocol: HTTPS
    port: 8443
    tls:
      mode: Terminate
      certificateRefs:
        - name: https-cert
          kind: Secret
      options:
        kgateway.dev/verify-subject-alt-names: "mtls.com"
        kgateway.dev/verify-certificate-hash: "46:DB:0D:C2:E1:4F:0A:05:8C:4F:05:8D:77:B1:8D:7C:1A:BE:18:4F:AF:81:BF:E2:B1:CD:03:43:7F:D8:65:4B"
    allowedRoutes:
      namespaces:
        from: All
EOF
# end of guide
until_true "the name mtls.com" in_use 4

# guide:
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get \
  --cert client-cert.pem \
  --key client-key.pem \
  --cacert ca-cert.pem
# end of guide
refused "certificate unknown"; ok $? "with the name mtls.com the same client fails" "$said"
grep -F 'https-8443: subject_alt_name ' "$top/gateway.log" | grep -qF 'mtls.com'
ok $? "the log has the reason and what was wanted" "$(tail -n 5 "$top/gateway.log")"

# guide: cleanup
kubectl delete httproute httpbin-https -n httpbin
kubectl delete gateway mtls -n kgateway-system
kubectl delete secret https-cert -n kgateway-system
kubectl delete configmap ca-cert -n kgateway-system
rm -rf ../example_certs
# end of guide
cd "$top" || exit 2
gone() { case $(shown) in *'"items": []'*) true ;; *) false ;; esac; }
until_true "the end of the Gateway" gone
try curl -v -k --resolve "example.com:8443:${INGRESS_GW_ADDRESS}"  https://example.com:8443/get
[ "$status" -eq 7 ]; ok $? "after the clean-up nobody listens" "$said"

kill -TERM "$gateway"
wait "$gateway"
status=$?
gateway=
ok "$status" "SIGTERM ends the gateway with status 0" "status $status"
! grep -qE 'Traceback|Unhandled' gateway.log
ok $? "and its log is clean" "$(cat gateway.log)"

echo "1..$steps"
exit $((failed > 0))
