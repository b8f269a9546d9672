"""What each reason code of the gateway means, what it comes from and what to do about it."""
from __future__ import annotations

from collections.abc import Mapping

from edgegw.verdict import Explanation, Reason

__all__ = ["EXPLANATIONS"]

#: One for each :class:`Reason`; ``docs/reasons.rst`` is made of it.
EXPLANATIONS: Mapping[Reason, Explanation] = {
    Reason.NO_CERTIFICATE: Explanation(
        "The client sent no certificate.",
        "The client has none configured, or none that one of the listener's trust anchors or signature "
        "algorithms fits; a browser's user has declined to choose one.",
        "Give the client its certificate and key, or let clients without one in with required: false or on_missing.",
    ),
    Reason.UNKNOWN_CA: Explanation(
        "The certificate's chain ends in no trust anchor of the listener.",
        "It comes from another CA, an intermediate was not sent along, or the CA was renewed.",
        "Add the CA to ca_certificates, or let the client send its intermediates.",
    ),
    Reason.CERTIFICATE_EXPIRED: Explanation(
        "A certificate of the chain, or a CRL, has expired.",
        "The client's renewal failed, or a clock is wrong.",
        "Renew the certificate; compare both clocks.",
    ),
    Reason.CERTIFICATE_NOT_YET_VALID: Explanation(
        "A certificate of the chain, or a CRL, is not valid yet.",
        "It was issued a moment ago by a CA whose clock is ahead.",
        "Compare the clocks of the CA and the gateway.",
    ),
    Reason.CERTIFICATE_REVOKED: Explanation(
        "The certificate, or one above it, was revoked by its issuer.",
        "The device was lost, replaced or taken out of service.",
        "Issue a new certificate if the client is still to come in.",
    ),
    Reason.CERTIFICATE_PURPOSE: Explanation(
        "The certificate is not for TLS clients.",
        "Its extended key usage names other purposes, such as serverAuth alone; or its key usage allows no signing.",
        "Issue one with clientAuth in extendedKeyUsage, and digitalSignature in keyUsage if it has one.",
    ),
    Reason.CERTIFICATE_SIGNATURE: Explanation(
        "A signature in the chain is wrong.",
        "A certificate was altered, or its issuer has the right name and another key.",
        "Compare the issuer's certificate with the trust anchor; issue the client's again.",
    ),
    Reason.CERTIFICATE_WEAK: Explanation(
        "A key or a signature in the chain is too weak.",
        "RSA of fewer bits than allowed, an unwanted curve, or a hash such as SHA-1.",
        "Issue it again with a stronger key; key_strength and security_level say what is wanted.",
    ),
    Reason.CHAIN_TOO_LONG: Explanation(
        "There are more certificates between the client's and the trust anchor than allowed.",
        "max_depth or a CA's path length constraint is smaller than the chain.",
        "Raise max_depth, or trust an intermediate.",
    ),
    Reason.NAME_CONSTRAINT: Explanation(
        "A name of the certificate is not among those that its CA may issue.",
        "The CA's name constraints permit other names, or exclude this one.",
        "Issue the certificate by the CA that is meant for the name.",
    ),
    Reason.CRITICAL_EXTENSION: Explanation(
        "A certificate has a critical extension that is not understood.",
        "A CA adds an extension of its own and marks it critical.",
        "Issue it without the extension, or not marked critical.",
    ),
    Reason.CERTIFICATE_INVALID: Explanation(
        "The certificate or its chain is not valid.",
        "An encoding or an extension that X.509 does not allow; the detail has OpenSSL's words.",
        "Issue it again.",
    ),
    Reason.NO_TRUST_ANCHOR: Explanation(
        "The listener has no trust anchor that can be used, and so refuses everyone.",
        "Every file of ca_certificates is missing, unreadable or not a certificate.",
        "Run edgegw check, correct the files, and reload.",
    ),
    Reason.SUBJECT_ALT_NAME: Explanation(
        "No subject alternative name of the certificate is one of those wanted.",
        "The certificate is another client's, or a matcher expects another type or spelling.",
        "Compare the names in the record with the matchers of subject_alt_names.",
    ),
    Reason.CERTIFICATE_HASH: Explanation(
        "The certificate's SHA-256 is not one of those pinned.",
        "The certificate was renewed, and the pin was not.",
        "Add the new certificate's hash before it is put into use.",
    ),
    Reason.SPKI_HASH: Explanation(
        "The SHA-256 of the certificate's public key is not one of those pinned.",
        "The client has a new key.",
        "Add the new key's hash, or keep the key when renewing.",
    ),
    Reason.SPIFFE_ID: Explanation(
        "The certificate has no SPIFFE ID, more than one URI, or an ID whose path is not allowed.",
        "It is no X.509-SVID, or another workload's.",
        "Compare the URI in the record with the paths of the trust domain.",
    ),
    Reason.SPIFFE_TRUST_DOMAIN: Explanation(
        "The SPIFFE ID's trust domain is not configured, or the chain does not end in its bundle.",
        "The workload belongs to another domain, or the domain's CA was rotated.",
        "Add the trust domain, or update its bundle.",
    ),
    Reason.SUBJECT: Explanation(
        "The certificate's subject is not one of those wanted.",
        "Another client's certificate, or attributes in another order or spelling.",
        "Compare the subject in the record with the policy.",
    ),
    Reason.ISSUER: Explanation(
        "The certificate's issuer is not one of those wanted.",
        "It comes from another CA below the same root.",
        "Compare the issuer in the record with the policy.",
    ),
    Reason.EXTENDED_KEY_USAGE: Explanation(
        "The certificate lacks an extended key usage that is demanded, or has one that is forbidden.",
        "It was issued with another profile.",
        "Issue it with the usages that the policy names.",
    ),
    Reason.CERTIFICATE_LIFETIME: Explanation(
        "The certificate is valid for longer than allowed.",
        "It was issued for years where days are wanted.",
        "Issue one with a shorter lifetime.",
    ),
    Reason.CERTIFICATE_EXPIRES_SOON: Explanation(
        "The certificate has less time left than demanded.",
        "The client's renewal is late.",
        "Renew the certificate.",
    ),
    Reason.SERIAL: Explanation(
        "The certificate's serial number is denied, or not among those allowed.",
        "It was put on the list, or it is new and was not.",
        "Compare the serial in the record with the policy's lists.",
    ),
    Reason.TLS_FINGERPRINT: Explanation(
        "The fingerprint of the client's ClientHello is denied, or not among those allowed.",
        "Another program than those meant for the listener, or a new version of its TLS library.",
        "Compare ja3 and ja4 in the record with the policy's lists.",
    ),
    Reason.NO_FINGERPRINT: Explanation(
        "A policy judges the client's TLS fingerprint, and none was taken.",
        "The connection is not one of TLS, or was there before the policy was.",
        "Let the client connect anew; on a listener without TLS leave the policy out.",
    ),
    Reason.RFC5280: Explanation(
        "The certificate or its chain breaks a rule of RFC 5280 that the listener insists on.",
        "A CA that issues carelessly; the detail names the rule.",
        "Issue it again as RFC 5280 wants it, or leave that rule out of the policy.",
    ),
    Reason.CRL_MISSING: Explanation(
        "There is no CRL of the certificate's issuer.",
        "The file or the distribution point has not been read yet, or is another CA's.",
        "Provide the CRL; on_missing: accept lets clients in without one.",
    ),
    Reason.CRL_STALE: Explanation(
        "The issuer's CRL is past its nextUpdate.",
        "The CA or the way from it to the gateway stands still.",
        "Publish a new CRL.",
    ),
    Reason.OCSP_UNAVAILABLE: Explanation(
        "No valid OCSP response about the certificate could be had.",
        "The responder is not reachable, slow, or answers with an error or a bad signature.",
        "Look at the detail; soft_fail: true lets clients in all the same.",
    ),
    Reason.OCSP_UNKNOWN: Explanation(
        "The OCSP responder does not know the certificate.",
        "It is another CA's responder, or its data is old.",
        "Compare the responder with the certificate's issuer.",
    ),
    Reason.NOT_LISTED: Explanation(
        "The identity is not on the list.",
        "The device is not registered yet, or was removed.",
        "Add it to the file; it is followed as it changes.",
    ),
    Reason.CHECK_REFUSED: Explanation(
        "The service that was asked refused the client.",
        "Its own rules; the detail has its words.",
        "Look into the service.",
    ),
    Reason.CHECK_UNAVAILABLE: Explanation(
        "The service that was to be asked gave no usable answer.",
        "It is down, slow, or answers with a status that decides nothing.",
        "Look at the detail and into the service.",
    ),
    Reason.RATE_LIMITED: Explanation(
        "The client connects, or asks, more often than allowed.",
        "A client that does not keep its connections, a loop, or an attack.",
        "Let the client reuse connections, or raise the rate.",
    ),
    Reason.EXCLUDED: Explanation(
        "A policy under not accepted the client.",
        "The client is one of those to be kept out.",
        "Compare the record with the policy under not.",
    ),
    Reason.NO_POLICY: Explanation(
        "There is a list of policies and nothing in it.",
        "A generated configuration, or members of any that do not apply to the client.",
        "Name at least one policy, or remove the list.",
    ),
    Reason.POLICY_ERROR: Explanation(
        "A policy failed, which refuses the client.",
        "A fault in the plugin: an exception, or something other than Accept or Reject returned.",
        "Look into the log, which has the traceback, and correct the plugin.",
    ),
    Reason.POLICY_TIMEOUT: Explanation(
        "A policy did not decide in time, which refuses the client.",
        "What it asks is slow or not reachable.",
        "Look into what it asks, or raise policy_timeout.",
    ),
    Reason.CLIENT_UNVERIFIED: Explanation(
        "The rule is for clients with a verified certificate, and the client's is not verified.",
        "A listener with AllowInsecureFallback let the client in with a certificate that it cannot verify.",
        "Give the client a certificate of a trusted CA.",
    ),
    Reason.NOT_TLS: Explanation(
        "What came is not TLS.", "A port scan, another protocol, or SSL 2.0.", "Look at what connects there.",
    ),
    Reason.PLAIN_HTTP: Explanation(
        "An HTTP request came without TLS.", "The client uses http://, or a proxy before the gateway takes TLS off.",
        "Use https:// in the client.",
    ),
    Reason.BAD_CLIENT_HELLO: Explanation(
        "The ClientHello is malformed, too long, or has more in it than any client offers.",
        "A faulty client, or an attack.",
        "Look at the client's TLS library.",
    ),
    Reason.UNRECOGNIZED_NAME: Explanation(
        "No listener of the port takes the name that the client asked for, or the listener has no certificate for it.",
        "The client uses another name or none (no SNI).",
        "Use the right name, or add a listener or a certificate for it (see unmatched_name, strict_sni).",
    ),
    Reason.NO_ROUTE: Explanation(
        "The listener has no route for connections with the name that the client asked for.",
        "The client uses another name or none (no SNI), or a route is missing.",
        "Add the name to a route under tls_routes, or a route under tcp_routes.",
    ),
    Reason.NO_BACKEND: Explanation(
        "The connection's route has nowhere to send it.",
        "It has no backends, or every weight is 0.",
        "Give the route a backend with a weight of 1 or more.",
    ),
    Reason.CERTIFICATE_UNAVAILABLE: Explanation(
        "The listener's source gave no certificate for the name that the client asked for.",
        "The source failed, was too slow, or is being asked about as many names as it may be; or what it gave is not "
        "for the name or not valid.",
        "Look into the log, which says what went wrong, and at dynamic_certificates.",
    ),
    Reason.ROUTER_REFUSED: Explanation(
        "The port's SNI router refused the connection.",
        "The router plugin's own rules.",
        "Look at the detail and at the router's options.",
    ),
    Reason.ROUTER_ERROR: Explanation(
        "The port's SNI router failed, which refuses the connection.",
        "A fault in the plugin: an exception, or a listener or upstream that does not exist.",
        "Look into the log, which has the traceback, and correct the plugin.",
    ),
    Reason.PROTOCOL_VERSION: Explanation(
        "Client and listener have no version of TLS in common.",
        "An old client that knows TLS 1.1 at most, or one restricted to another version.",
        "Update the client, or widen min_version and max_version.",
    ),
    Reason.NO_SHARED_CIPHER: Explanation(
        "Client and listener have no cipher suite or signature algorithm in common.",
        "An old client, a narrow cipher_suites, or a certificate of a key type that the client does not verify.",
        "Widen cipher_suites or signature_algorithms, or add a certificate of another key type.",
    ),
    Reason.NO_SHARED_GROUP: Explanation(
        "Client and listener have no key exchange group in common.",
        "A narrow list of groups on either side; in TLS 1.2 also a client's key on a curve that is none of them.",
        "Add a group to groups.",
    ),
    Reason.NO_APPLICATION_PROTOCOL: Explanation(
        "Client and listener have no application protocol (ALPN) in common.",
        "The client insists on a protocol that the listener does not offer.",
        "Add it to alpn.",
    ),
    Reason.CLIENT_ALERT: Explanation(
        "The client ended the handshake with an alert.",
        "It does not trust the gateway's certificate, or the name is not in it.",
        "Look at the client's message; check the certificate that it was shown.",
    ),
    Reason.CLIENT_CLOSED: Explanation(
        "The client closed the connection before the handshake was done.",
        "A health probe, a scanner, an impatient client, or one that does not like the certificate and says nothing.",
        "Nothing, unless it is a client of yours.",
    ),
    Reason.HANDSHAKE_TIMEOUT: Explanation(
        "The handshake was not done in time.",
        "A client that connects and says nothing, or a very slow network.",
        "Nothing, or raise handshake_timeout.",
    ),
    Reason.TLS_ERROR: Explanation(
        "OpenSSL ended the handshake.", "Something rare; the detail has OpenSSL's words.", "Look at the detail.",
    ),
    Reason.PROXY_HEADER_MISSING: Explanation(
        "A trusted proxy's connection does not begin with a PROXY header, which the port requires.",
        "The proxy does not send one, or its health checks do not.",
        "Turn the PROXY protocol on in the proxy and its health checks, or use mode: optional.",
    ),
    Reason.BAD_PROXY_HEADER: Explanation(
        "A trusted proxy's connection begins with a PROXY header that is malformed or too long.",
        "A faulty proxy, or one that lets its clients write the header.",
        "Look at the detail, and at the proxy; max_size bounds a header of version 2.",
    ),
    Reason.PROXY_HEADER_TIMEOUT: Explanation(
        "A trusted proxy's connection did not have its PROXY header in time.",
        "A proxy that opens connections in advance, or sends no header before its client speaks; a slow network.",
        "Turn that off in the proxy, or raise the timeout of proxy_protocol.",
    ),
    Reason.UNTRUSTED_PROXY: Explanation(
        "The connection is not from a proxy that the port trusts, and the port takes none of others.",
        "A client that goes past the load balancer, or a new address of the load balancer.",
        "Add the load balancer's address to trusted, or keep others from the port; mode: optional serves them.",
    ),
    Reason.MAX_CONNECTIONS: Explanation(
        "The listener has as many connections as it may have.",
        "A burst, a leak in clients, or an attack.",
        "Raise max_connections, or find out who holds them.",
    ),
    Reason.MAX_CONNECTIONS_PER_PEER: Explanation(
        "The client's address has as many connections as it may have.",
        "Many clients behind one address, or one that leaks them.",
        "Raise max_connections_per_peer.",
    ),
    Reason.MAX_HANDSHAKES: Explanation(
        "As many handshakes are under way as may be.",
        "A burst of new clients, after a restart for example.",
        "Raise max_handshakes, or let clients come back more slowly.",
    ),
    Reason.CONNECTION_RATE: Explanation(
        "New connections come faster than they may.",
        "A burst of new clients, or an attack.",
        "Raise connection_rate, or let clients keep their connections.",
    ),
    Reason.DRAINING: Explanation(
        "The gateway is stopping, or has cut the connection for a change of its configuration.",
        "A restart or a reload.",
        "Nothing; the client comes back.",
    ),
    Reason.INTERNAL_ERROR: Explanation(
        "The gateway failed, which refuses the client.",
        "A fault of the gateway.",
        "Report it with what the log says.",
    ),
}
