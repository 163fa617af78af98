"""Programs that keep the contract of docs/conformance.md, for `steadywire conformance --client COMMAND`."""
