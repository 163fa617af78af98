"""The browser side: a client in JavaScript, the connection-health component, and the pages that a server shows.

    machine, client   the client half of the protocol, for browsers
    component         the connection-health component: a custom element, and a notebook's widget
    page, admin       the pages at / and at /admin
    files             how a server delivers these files
    jupyter           the component on a client that runs in a notebook

The JavaScript has no dependencies and no build step: browsers load these files directly.
"""
