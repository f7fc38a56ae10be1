"""What the integration tests stand on: real servers, started and watched."""
