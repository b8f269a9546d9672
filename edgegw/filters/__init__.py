"""What a rule does with a request and its response: decisions and changes, as pure code."""
