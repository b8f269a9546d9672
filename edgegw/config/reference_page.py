"""``docs/policies.rst``: how policies are used, and all that come with the gateway.

``python -m edgegw.plugins_command > docs/policies.rst`` makes it anew after a change of a policy's docstring, options
or codes, or of what stands here; a test says when that was forgotten.  The command is there because whoever reads
configurations knows no plugins: they are passed in.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgegw.config.reference import FoundKind, kind_as_rst

__all__ = ["policies_page"]

_INTRODUCTION: Final = """\
.. Made by "python -m edgegw.plugins_command" of the policies' docstrings, options and codes, and of
   edgegw/config/reference_page.py.

========
Policies
========

A policy says of a client whether it may come in, beyond what the chain of its certificate says.  Those that come with
the gateway are listed below; :doc:`plugins` tells how to write one.  ``edgegw plugins`` lists all that are installed,
``edgegw plugins NAME`` prints what is said of one, and ``edgegw explain`` shows what each says of a certificate.

.. code-block:: yaml

    client_validation:
      default:
        ca_certificates: [ca-cert.pem]
        policies:                                     # all of them must accept
          - spiffe:
              trust_domains: {example.com: {bundle: ca-cert.pem}}
          - any:                                      # one of them must accept
              - subject_alt_names: {dns: [{suffix: .corp.example}]}
              - certificate_hash: {file: pinned.txt}
          - not: {serial: {allow: ["4F:8A:00:1C"]}}   # it must refuse
    listeners:
      - name: https
        port: 8443
        tls: {certificates: [{certificate: server-cert.pem, private_key: server-key.pem}]}
        policies: [{rate_limit: {per: address, rate: 20/s}}]
        health_check: {path: /healthz, sources: [10.0.0.0/8]}
    routes:
      - name: app
        rules:
          - matches: [{path: {value: /public}}]
            client: none
            backends: [{upstream: app}]
          - matches: [{path: {value: /admin}}]
            policies: [{subject: {names: ["CN=admin,O=Example"]}}]
            backends: [{upstream: app}]
    upstreams:
      - {name: app, endpoints: ["127.0.0.1:8000"]}

How they are combined
=====================

An element of a list is the name of a policy, or a mapping with the name as its one key and the options below it.  In
place of a name may stand ``module:object``, for a policy that is in no place where plugins are looked for.

A list is passed if all of it accept.  ``all`` and ``any`` take a list, ``not`` takes one policy, and they nest:

* ``all`` accepts if every member does.
* ``any`` accepts if one member does; the members behind that one are not asked.  If all refuse, the reason is the first
  one's, and the detail has each one's.
* ``not`` accepts if its member refuses, and refuses with ``excluded`` if it accepts.  A member that fails, or cannot
  decide because a list or a service is missing, has not refused: the client is refused with that reason.

What a policy has found out, such as a team or a SPIFFE ID, is kept as attributes of the client: for the policies behind
it, the header templates and the log.  What was said first stays.

Nothing lets a client in but an acceptance.  An exception, a result that is none, a policy that does not answer in time
and an empty list refuse, with ``policy_error``, ``policy_timeout`` and ``no_policy``.

Where they hold
===============

``policies`` stands in four places:

* in ``client_validation``, under ``default`` and under ``per_port``: for every HTTPS listener, or for those on one
  port.  An entry under ``per_port`` replaces the default as a whole, its policies included;
* in ``client_validation`` of a listener's ``tls``, which replaces both for that listener;
* in a listener: these come after those of the client validation that holds for it;
* in a route's rule: for the requests that the rule takes.

A rule's policies judge the client that came in: a request that they refuse is answered with 403, and the connection
goes on.  They are asked at every request.  ``client`` says what the rule needs before they are asked: ``verified``,
which is the default where there are policies, ``any`` certificate, or ``none``.  A listener that lets clients without a
certificate in, with ``required: false`` or ``AllowInsecureFallback``, can so have rules that need none beside rules
that need one.

Where any rule demands something of the client, paths that an upstream may read as another one, such as
``/public/../admin`` or ``/%61dmin``, are answered with 400; see ``ambiguous_paths`` in :doc:`configuration`.

When they run
=============

They run for every new connection, whether it resumes a session or not, once the certificate's chain has been found
good.  Policies that do not wait run in the TLS handshake.  Those that wait for something, such as a service that is
asked, run when it is done and before the first byte of the application is read, in the list's order but behind all that
do not wait; ``any``, ``all`` and ``not`` with one that waits among their members run there as a whole.  Each has
``policy_timeout`` for its answer.

In ``AllowInsecureFallback`` policies are asked about certificates whose chain is not good, too: what stands in such a
certificate anybody can have written, but for its hash.  Each policy below says what it makes of them.

Policies that keep answers about a certificate say so below.  Answers are forgotten when the list, the CRL or whatever
they were made of changes, and with every change of the configuration.  With ``recheck_established: true`` in the client
validation open connections are judged again then, and closed if their client would not come in any more; without it
only new connections see the change.

Clients without a certificate
=============================

Where a certificate is required there are none.  With ``required: false``, and in ``AllowInsecureFallback``, having
policies makes a certificate required all the same: otherwise leaving it out would be a way past them.
``on_missing: accept`` lets clients without one in.  Then only policies that judge such clients are asked about them,
which they say below, and all of these must accept.

A load balancer's probes need no policy: ``health_check`` of a listener answers requests for one path from some
addresses without a certificate, and nothing else.

What a refused client sees
==========================

A refusal in the handshake is a TLS alert, which :doc:`reasons` names for each reason; under TLS 1.3 the client has done
its part by then and sees the alert when it first reads.  A policy that waits, every policy on a resumed session, and
where a policy reads the chain every policy about a chain that is not good, refuse when the handshake is done: the
connection is closed, or with ``refuse_with: response`` its first request is answered with 403.  Neither tells why,
unless ``explain_to_client: true`` has the 403 name the reason code.

The operator sees all of it: the reason code and its detail stand in the log, the metrics count it, and
``edgegw handshakes`` shows what each policy said and how long it took.

A rule's refusal is not among the handshakes, because the client is in: it is the 403 of a request.  The log has a line
for each, with the request's method and path, the policy that refused, its code and detail, the id of the connection's
handshake and the ``x-request-id`` that the client was told; ``edgegw_requests_refused_total`` counts them by code.
``edgegw explain --path /admin --online`` shows what each of the rule's policies says of a certificate; without
``--online`` those that wait are not asked, and the answer is open.

As Envoy has it
===============

``envoy_compatible: true`` with ``AllowInsecureFallback`` lets everyone in, as Envoy's ``ACCEPT_UNTRUSTED`` does: whom a
policy refuses counts as a client with an unverified certificate, and a client without one comes in.  Upstreams are told
of no identity that is not verified, and a rule with ``client: verified`` refuses them.

The policies
============

"""


def policies_page(kinds: Iterable[FoundKind]) -> str:
    """Give the page, reStructuredText, ending with a newline.

    :param kinds: those that come with the gateway; of other sorts than policies none is shown.
    """
    sections = [kind_as_rst(found) for found in kinds if found.what == "policy" and found.built_in]
    return (_INTRODUCTION + "\n".join(sections)).rstrip("\n") + "\n"
