"""What the gateway tells about itself: metrics, health and logs."""
