"""What has to hold before a package is released, and what is released with it."""
