"""The browser side: a client in JavaScript, the connection-health component, and the pages that a server shows.

    machine, client   the client half of the protocol, for browsers
    component         the connection-health component: a custom element, and a notebook's widget
    page, admin       what a server shows at / and at /admin
    files             how a server hands all of that out
    jupyter           the component on a client that runs in a notebook

The JavaScript has no dependency and no build step: what is here is what a browser loads.
"""
