"""The validation policies that come with the gateway, each a plugin like anyone's."""
