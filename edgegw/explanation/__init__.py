"""What ``edgegw explain`` finds out and says: whether a client would come in, step by step, and what must change.

:mod:`~edgegw.explanation.client` reads what the client would send, :mod:`~edgegw.explanation.trial` has the gateway's
own code judge it, :mod:`~edgegw.explanation.findings` makes a document of what came of that, with
:mod:`~edgegw.explanation.remedies` for what to do, and :mod:`~edgegw.explanation.text` makes text of the document.
"""
