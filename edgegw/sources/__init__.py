"""The certificate sources that come with the gateway; each module defines one kind."""
