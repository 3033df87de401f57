//! Reads `keepalived.conf`: an existing site runs as it is.
